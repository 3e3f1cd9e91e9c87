"""The desk's line to the real relay, in memory and in virtual time."""

from pathlib import Path

from builders_desk import Stage, perform


def test_a_request_is_delivered_acknowledged_and_seen(tmp_path: Path) -> None:
    """The main way: sent, accepted, delivered, acknowledged; both sides see each step from verified statements."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.clock.sleep(1)
        sent = await vn.send("AU", body=b'{"please":"keep them"}')
        await vn.desk.wait(sent["msg"], "delivered", 60)
        (shown,) = await au.shown()
        assert shown["msg"] == sent["msg"]
        page = await au.desk.show(sent["msg"][:8])
        assert page["document"] == {"please": "keep them"}
        assert page["warnings"] == []
        await au.sign("acknowledged", sent["msg"])
        await vn.desk.wait(sent["msg"], "acknowledged", 60)
        await stage.settle()
        assert (await vn.desk.timeline(sent["msg"]))["state"] == "acknowledged"
        assert (await au.desk.timeline(sent["msg"]))["state"] == "acknowledged"
        assert (await au.desk.status())["receipts"] == 0
        assert (await vn.desk.status())["outbox"] == 0

    perform(story, tmp_path)
