"""Files on the whole journey: asked with evidence, answered with an order, through an outage, until the relay forgets."""

from pathlib import Path

import pytest
from builders_attached import AttachedSeat, AttachedStage, attached, data_of
from builders_journey import acknowledge

from relay.desk import downloads, uploads
from relay.store.sqlite import SqliteStore

EVIDENCE = {"image.dd": data_of(150_000, "image"), "notes.txt": data_of(900, "notes")}
ORDER = {"order.pdf": data_of(40_000, "order")}


def test_evidence_goes_and_an_order_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay goes down while files go up, and again while they come down; both desks end with every file (9.5, 11.5)."""
    for module in (uploads, downloads):
        monkeypatch.setattr(module, "PIECE_BYTES", 30_000)

    def again() -> SqliteStore:
        return SqliteStore(tmp_path / "relay.db")

    async def slow(_method: str, _blob: str) -> None:
        await stage_of[0].clock.sleep(5)

    stage_of: list[AttachedStage] = []

    async def story(stage: AttachedStage) -> None:
        stage_of.append(stage)
        await stage.restart(again())
        vn, colleague = await stage.seat("VN"), await stage.seat("VN", "vn-02")
        au = await stage.seat("AU")
        seats: list[AttachedSeat] = [vn, colleague, au]
        for seat in seats:
            seat.carrier.before = slow
        sent = await vn.send_with("AU", EVIDENCE, backup="AU-B")
        msg = sent["statement"]
        await vn.until(lambda: vn.carrier.count("PUT") == 3)
        await stage.outage(300, again)
        await vn.desk.wait(msg, "delivered", 600)
        await au.until(lambda: au.carrier.count("GET") >= 2)
        await stage.outage(300, again)
        await au.restart()
        await vn.desk.wait(msg, "delivered", 60)
        await acknowledge(au, msg)  # the text is enough; the files are still coming
        for seat in (au, colleague):
            await seat.until_states(msg, "here", "here")
            assert [await seat.saved(msg, number) for number in (1, 2)] == list(EVIDENCE.values())

        thread = (await au.desk.show(msg))["msg"]
        answered = await au.send_with("VN", ORDER, kind="answer", thread=thread, ack_by=0)
        await au.sign("closed", msg, outcome=answered["statement"])
        await vn.desk.wait(msg, "closed", 120)
        found = await vn.desk.wait(msg, "answer", 600)
        for seat in (vn, colleague):
            await seat.until_states(found["msg"], "here")
            assert await seat.saved(found["msg"]) == ORDER["order.pdf"]
        await stage.settle()
        assert vn.files() == ["in/.00"]
        assert au.files() == ["in/.00", "in/.01"]
        assert len(stage.held()) == 3

        for seat in seats:
            await seat.stop()
        await stage.pass_days(40)
        await stage.store.purge(stage.clock.now(), 100)
        await stage.blobs.house(stage.clock.now())
        assert stage.held() == []
        for seat in seats:
            seat.start()
        assert await vn.saved(found["msg"]) == ORDER["order.pdf"]
        assert await au.saved(msg) == EVIDENCE["image.dd"]

    attached(story, tmp_path)
