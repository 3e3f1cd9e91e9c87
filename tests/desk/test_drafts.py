"""Four eyes: drafts that survive, approvals that are verified when a text is handed over, urgency that is lowered."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from builders_desk import DAY, Seat, Stage, perform
from builders_keys import World

from keys import statement
from keys.errors import Code, Failed, Refused
from keys.identity import Signer
from keys.statement import b64u
from relay.desk import approval, compose
from relay.desk.approval import Subject
from relay.desk.documents import forms, skeleton
from relay.desk.statistics import share

Story = Callable[[Stage], Awaitable[None]]
MARKER = "the name of the person under investigation"


def draft(document: dict[str, Any], **more: str) -> str:
    """Return what the verb keeps: a request to AU, unless *more* says otherwise."""
    plain = {"to": "AU", "about": "", "priority": "urgent", "mode": "actual", "backup": "-"}
    rest = {"kind": str(document["kind"]), "text": json.dumps(document), "officer": "vn-01"}
    return json.dumps({**plain, **rest, **more})


def request(stage: Stage, **more: Any) -> dict[str, Any]:
    """Return a complete request for preservation to AU."""
    made = skeleton.example("preservation_request", stage.clock.now())
    return {**made, "requested_authority": "AU", **more}


def refusal(stage: Stage, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a complete refusal of a request."""
    return forms.refusal(
        asked,
        at=stage.clock.now(),
        officer="Mai",
        ground="R-SOV",
        reason="Essential interests.",
        approver="Binh",
    )


async def sign(
    seat: Seat, document: dict[str, Any], to: str, *, priority: str = "urgent", thread: str = ""
) -> dict[str, Any]:
    """Sign a document as the command line does; return it as it is handed over."""
    top = seat.header(to, priority=priority, ack_by=0)
    kind = str(document["kind"])
    made = compose._signed(
        kind, document, top, thread=thread, officer=seat.officer, nonce=b"n" * 16, attachments=()
    )
    return dict(made.handed_over())


def approve(seat: Seat, found: dict[str, Any], by: Signer, **changes: Any) -> str:
    """Sign an approval of a draft as it is shown."""
    subject = Subject(**{**found["subject"], **changes})
    now = seat.desk._clock.now()
    return b64u(approval.make(subject, desk=seat.name, now=now, officer=by).wire)


def test_a_draft_is_there_after_whatever_ended_the_process(tmp_path: Path) -> None:
    """Kept on return, sealed in every file, incomplete or not; edited, listed and dropped."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        half = {"kind": "preservation_request", "facts_summary": MARKER}
        kept = await vn.desk.keep_draft("", draft(half))
        raw = b"".join(one.read_bytes() for one in tmp_path.rglob("*.db*"))
        assert MARKER.encode() not in raw
        copy = (
            tmp_path / "killed.db"
        )  # what a killed process leaves: the file and its log as they are now
        for suffix in ("", "-wal"):
            (tmp_path / f"killed.db{suffix}").write_bytes(Path(f"{vn.path}{suffix}").read_bytes())
        await vn.stop()
        vn.path = copy
        vn.start()
        (listed,) = (await vn.desk.drafts())["drafts"]
        assert (listed["draft"], listed["to"]) == (kept["draft"], "AU")
        assert "text" not in listed
        found = await vn.desk.draft(kept["draft"][:8])
        assert json.loads(found["text"]) == half
        edited = await vn.desk.keep_draft(kept["draft"], draft(half | {"necessity": "Soon gone."}))
        assert edited["draft"] == kept["draft"]
        assert "Soon gone." in (await vn.desk.draft(kept["draft"]))["text"]
        assert (await vn.desk.drop_draft(kept["draft"]))["state"] == "dropped"
        assert await vn.desk.drafts() == {"drafts": []}
        with pytest.raises(Refused, match="no drafts"):
            await vn.desk.draft(kept["draft"])

    perform(story, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        "[]",
        "{",
        '{"kind":"preservation_request"}',
        draft({"kind": "preservation_request"}, priority="sometime"),
        draft({"kind": "preservation_request"}, kind="refusal"),
        draft({"kind": "preservation_request"}, text="{"),
        draft({"kind": "nothing"}),
    ],
)
def test_what_is_no_draft_is_not_kept(tmp_path: Path, wrong: str) -> None:
    """A sentence, and nothing in the archive (E_DOCUMENT)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        with pytest.raises(Refused) as refused:
            await vn.desk.keep_draft("", wrong)
        assert refused.value.code is Code.E_DOCUMENT
        assert await vn.desk.drafts() == {"drafts": []}

    perform(story, tmp_path)


def test_a_refusal_is_not_sent_without_a_second_officer(tmp_path: Path) -> None:
    """Whatever the policy says: not alone, not by oneself, not by a stranger, not after an edit; then it is."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        asked = request(stage)
        sent = await vn.desk.send(**await sign(vn, asked, "AU"))
        await au.until(lambda: au.told("message"))
        letter = await au.desk.show(sent["statement"])
        no = refusal(stage, asked)
        given = {"to": "VN", "about": letter["statement"], "officer": "au-01", "backup": ""}
        kept = await au.desk.keep_draft("", draft(no, **given))
        name = kept["draft"]
        assert "second officer" in kept["needs"]
        assert kept["approved"] == {}

        async def hand(document: dict[str, Any], name: str) -> dict[str, Any]:
            made = await sign(au, document, "VN", thread=letter["msg"])
            return await au.desk.send(**made, draft=name)

        for which in ("", name):
            with pytest.raises(Failed) as alone:
                await hand(no, which)
            assert alone.value.exit_code == 77
            assert "desk approve" in alone.value.hint
        second, world = stage.world.signer("AU", "au-02"), stage.world
        for by in (au.officer, world.signer("VN", "vn-02"), world.device("AU", "au-02")):
            with pytest.raises(Refused) as refused:
                await au.desk.approve(name, approve(au, kept, by))
            assert refused.value.code is Code.E_SIGNER
        with pytest.raises(Refused) as other:
            await au.desk.approve(name, approve(au, kept, second, to="NZ"))
        assert other.value.code is Code.E_BINDING
        done = await au.desk.approve(name, approve(au, kept, second))
        assert done["approved"]["officer"] == "au-02"
        with pytest.raises(Refused) as changed:  # another text than the one that was approved
            await hand(no | {"reason_text": "Other reasons."}, name)
        assert changed.value.code is Code.E_BINDING
        edited = await au.desk.keep_draft(name, draft(no | {"reason_text": "More."}, **given))
        assert edited["approved"] == {}, "an edit voids what was approved"
        with pytest.raises(Failed):
            await hand(no | {"reason_text": "More."}, name)
        await au.desk.keep_draft(name, draft(no, **given))
        await au.desk.approve(name, approve(au, kept, second))
        await au.restart()
        await au.until(lambda: au.connected)
        gone = await hand(no, name)
        assert await au.desk.drafts() == {"drafts": []}
        await stage.clock.sleep(5)
        with pytest.raises(Failed, match="was sent already"):
            await hand(no, name)
        told = await au.desk.timeline(gone["statement"])
        (line,) = [one for one in told["lines"] if one["what"] == "approved"]
        assert line["by"] == "au-02 (AU)"
        assert (await au.desk.show(gone["statement"]))["approved"] == "au-02"
        await vn.until(lambda: vn.told("message"))
        assert (await vn.desk.show(gone["statement"]))["approved"] == "", "it stays at the desk"

    perform(story, tmp_path, World(officers=2))


def test_an_officer_who_left_has_not_approved(tmp_path: Path) -> None:
    """An approval counts by the directory at the time of sending: revoked in between, it is asked for anew."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN", policy=("urgent",))
        asked = request(stage)
        kept = await vn.desk.keep_draft("", draft(asked))
        assert "urgent requests" in kept["needs"]
        second = stage.world.signer("VN", "vn-02")
        await vn.desk.approve(kept["draft"], approve(vn, kept, second))
        await stage.clock.sleep(5)
        stage.world.revoke("VN", "vn-02", stage.clock.now())
        await stage.freshen()
        await vn.until(
            lambda: not vn.desk._roster.me.by_officer(second.kid)[0].active(stage.clock.now())
        )
        with pytest.raises(Refused) as refused:
            await vn.desk.send(**await sign(vn, asked, "AU"), draft=kept["draft"])
        assert refused.value.code is Code.E_SIGNER

    perform(story, tmp_path, World(officers=2))


def test_the_policy_names_what_two_approve(tmp_path: Path) -> None:
    """A word of urgency is about requests, a kind about that kind; answers to an emergency are not held up."""
    policy = ("emergency", "mla_expected")
    why = approval.why
    assert why("request", "preservation_request", {}, "emergency", policy)
    assert not why("request", "preservation_request", {}, "urgent", policy)
    assert not why("answer", "acceptance", {}, "emergency", policy)
    assert why("info", "mla_expected", {}, "routine", policy)
    assert why("refusal", "", {}, "routine", ())
    assert why("answer", "extension_decision", {"ground": "R-SOV"}, "routine", ())
    assert not why("answer", "extension_decision", {"outcome": "GRANTED"}, "routine", ())

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN", policy=policy)
        asked = request(stage)
        with pytest.raises(Failed, match="emergency requests"):
            await vn.desk.send(**await sign(vn, asked, "AU", priority="emergency"))
        assert (await vn.desk.send(**await sign(vn, asked, "AU")))["msg"]

    perform(story, tmp_path)


def test_a_forged_approval_in_the_archive_counts_for_nothing(tmp_path: Path) -> None:
    """What is kept is verified again when it is sent: a signature of another key, or over other bytes, is none."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN", policy=("urgent",))
        asked = request(stage)
        kept = await vn.desk.keep_draft("", draft(asked))
        good = statement.unb64u(approve(vn, kept, stage.world.signer("VN", "vn-02")))
        for bad in (
            good.replace(b'"sig":"', b'"sig":"AAAA', 1),
            statement.unb64u(approve(vn, kept, vn.officer)),
        ):
            with vn.archive.commit():
                vn.archive.change("draft", kept["draft"], {}, {"approval": bad})
            with pytest.raises(Refused):
                await vn.desk.send(**await sign(vn, asked, "AU"), draft=kept["draft"])
        assert len((await vn.desk.drafts())["drafts"]) == 1

    perform(story, tmp_path, World(officers=2))


def test_a_crash_between_mark_and_message_leaves_a_draft(tmp_path: Path) -> None:
    """The mark alone is not a message: the draft is listed and can be sent, once."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        asked = request(stage)
        kept = await vn.desk.keep_draft("", draft(asked))
        vn.desk._drafts.mark(kept["draft"], "f" * 64)
        await vn.restart()
        assert len((await vn.desk.drafts())["drafts"]) == 1
        made = await sign(vn, asked, "AU")
        first = await vn.desk.send(**made, draft=kept["draft"])
        again = await vn.desk.send(**made, draft=kept["draft"])
        assert first["statement"] == again["statement"], "a repeat of the same changes nothing"
        assert await vn.desk.drafts() == {"drafts": []}

    perform(story, tmp_path)


def test_lowered_urgency_is_seen_on_both_sides(tmp_path: Path) -> None:
    """By the desk that was asked, signed, with its reason; the same form by anybody else changes nothing."""

    async def story(stage: Stage) -> None:
        vn, au, nz = await stage.seat("VN"), await stage.seat("AU"), await stage.seat("AU-B")
        asked = request(stage)
        sent = await vn.desk.send(**await sign(vn, asked, "AU", priority="emergency"))
        await au.until(lambda: au.told("message"))
        lower = skeleton.example("urgency_change", stage.clock.now())
        lower |= {"reason": "No life\u202e is at risk.", "value": "ROUTINE"}
        await nz.desk.send(**await sign(nz, lower, "VN", thread=sent["msg"]))
        await vn.until(lambda: vn.told("message"))
        assert (await vn.desk.show(sent["msg"]))["urgency"] == "", "AU-B was not asked"
        await au.desk.send(**await sign(au, lower, "VN", thread=sent["msg"]))
        await vn.until(lambda: len(vn.told("message")) == 2)
        for seat in (vn, au):
            page = await seat.desk.show(sent["msg"])
            assert page["urgency"] == "ROUTINE"
            assert "urgency changed from emergency to routine: No life" in page["notes"][0]
            assert "\u202e" not in page["notes"][0]
            told = await seat.desk.timeline(sent["msg"])
            (line,) = [one for one in told["lines"] if one["what"] == "urgency"]
            assert line["by"] == "au-01 (AU)"
        assert (await vn.desk.statistics(0))["all"]["lowered"] == 2

    perform(story, tmp_path)


def test_statistics_count_requests_by_priority(tmp_path: Path) -> None:
    """Each way, with each desk, in all and since a day; exercises apart, answers and acknowledgements not at all."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        for number, priority in enumerate(("emergency", "urgent", "routine")):
            await vn.send("AU", priority=priority, ack_by=0, nonce=bytes([number]) * 16)
        await vn.send("AU", priority="emergency", mode="exercise", ack_by=0)
        await au.until(lambda: len(au.told("message")) == 4)
        msg = (await au.shown())[0]["msg"]
        await au.send("VN", kind="info", thread=msg, priority="emergency", ack_by=0)
        later = stage.clock.now() + 100
        await stage.clock.sleep(200)
        await vn.send("AU", priority="emergency", ack_by=0)
        await vn.send("AU-B", priority="routine", ack_by=0)
        await au.until(lambda: len(au.told("message")) == 5)
        found = await vn.desk.statistics(0)
        first = {"emergency": 2, "urgent": 1, "routine": 1, "exercises": 1, "share": 50}
        assert [one["desk"] for one in found["desks"]] == ["AU", "AU-B"]
        assert found["desks"][0]["sent"] == first
        assert found["all"]["sent"] == first | {"routine": 2, "share": 40}
        assert found["all"]["received"]["share"] == 0
        there = (await au.desk.statistics(0))["desks"]
        assert [(one["desk"], one["received"]) for one in there] == [("VN", first)]
        recent = (await vn.desk.statistics(later))["all"]["sent"]
        assert (recent["emergency"], recent["share"]) == (1, 50)
        assert (await vn.desk.statistics(later + DAY))["desks"] == []

    perform(story, tmp_path)


def test_a_share_is_rounded_half_up() -> None:
    """One of eight is 13 per cent, none of none is 0."""
    assert [share(1, 8), share(1, 3), share(2, 3), share(0, 0), share(5, 5)] == [13, 33, 67, 0, 100]
