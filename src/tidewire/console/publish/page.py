"""How does somebody publish from the page? Once, several times, or as a request, and it says what became of it."""

from __future__ import annotations

import time
from typing import Final

from msgspec.structs import replace
from nicegui import background_tasks, ui

from tidewire.console import charts, words
from tidewire.console.asking import asked
from tidewire.console.look import Look
from tidewire.console.publish.answers import (
    LONGEST_WAIT_S,
    Answer,
    Answers,
    new_correlation_data,
    new_response_topic,
)
from tidewire.console.publish.draft import Draft, DraftFault, check_topic, properties_of
from tidewire.console.publish.form import DraftForm
from tidewire.console.publish.outcome import Outcome, outcome
from tidewire.console.publish.sending import LONGEST_INTERVAL_S, SENDS, Sending
from tidewire.console.publish.templates import Templates
from tidewire.console.retained.payload import show_payload
from tidewire.server.admin import AdminFault

SHOWN_S: Final = 0.25
"""How often what is under way is looked at."""

LOGGED: Final = 20
"""Outcomes that are shown, the newest first."""

ONCE: Final = "Once"
SEVERAL: Final = "Several times"
REQUEST: Final = "As a request"


def build(look: Look) -> None:
    """The page."""
    charts.add_style()
    _Page(look)


class _Page:
    def __init__(self, look: Look) -> None:
        self._look = look
        self._busy = False
        """Somebody has clicked, and what becomes of it is not known yet."""
        self._sending: Sending | None = None
        self._progress: ui.label | None = None
        self._answers: Answers | None = None
        with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-[3fr_2fr] gap-4 w-full items-start"):
            with charts.section("Message"):
                self._form = DraftForm()
                ui.separator()
                self._draw_ways()
            with ui.column().classes("gap-4 w-full min-w-0"):
                with charts.section("What became of it"):
                    self._nothing = ui.label("Nothing has been published here yet.").classes("faint small")
                    self._log = ui.column().classes("w-full gap-3").props("role=log aria-label=Outcomes")
                with charts.section("Answers") as self._answers_card:
                    self._waiting = ui.label().classes("faint small").props("role=status")
                    self._answer_list = ui.column().classes("w-full gap-3")
                self._answers_card.set_visibility(False)
                Templates(lambda: self._form.draft, self._form.fill)
        self._timer = ui.timer(SHOWN_S, self._look_at, active=False)
        ui.context.client.on_delete(self._stop)

    def _draw_ways(self) -> None:
        with ui.row().classes("items-center gap-3").props('role=group aria-label="How to publish"'):
            self._way = charts.segments([ONCE, SEVERAL, REQUEST], value=ONCE)
        with ui.row().classes("w-full gap-3").bind_visibility_from(self._way, "value", lambda way: way == SEVERAL):
            self._times = ui.number("How often", value=10, min=1, max=SENDS, precision=0).props("outlined dense")
            self._interval = ui.number("Every", value=1, min=0, max=LONGEST_INTERVAL_S, suffix="s").props(
                "outlined dense"
            )
        with ui.column().classes("w-full gap-2").bind_visibility_from(self._way, "value", lambda way: way == REQUEST):
            self._wait = ui.number("Wait for answers", value=5, min=0.5, max=LONGEST_WAIT_S, suffix="s")
            self._wait.props("outlined dense").classes("w-48")
            ui.label(
                "Answers are awaited on the response topic. Where that or the correlation data is empty, new ones are "
                "made; they stand under Properties of MQTT 5."
            ).classes("faint small")
        with ui.row().classes("gap-2"):
            self._publish = ui.button("Publish", icon="send", on_click=self._start, color=None).props(
                "unelevated no-caps"
            )
            self._publish.classes("on-tide")
            self._stop_button = ui.button("Stop", icon="stop", on_click=self._stop, color=None).props("outline no-caps")
            self._stop_button.classes("in-tide").set_visibility(False)

    async def _start(self) -> None:
        if self._busy:  # a second click before the button was gone
            return
        self._busy = True
        try:
            await self._publish_draft()
        finally:
            self._busy = False

    async def _publish_draft(self) -> None:
        try:
            message = self._form.message()
            if message is None:
                return
            draft, payload = message
            if draft.retain and not payload and not await self._means_deletion(draft.topic):
                return
            if self._sending is not None or self._answers is not None or ui.context.client.is_deleted:
                return
            if self._way.value == SEVERAL:
                self._send_several(draft, payload)
            elif self._way.value == REQUEST:
                self._ask(draft, payload)
            else:
                self._note(draft.topic, self._send(draft, payload))
        except (DraftFault, AdminFault) as fault:
            ui.notify(str(fault), type="negative")

    async def _means_deletion(self, topic: str) -> bool:
        return await asked(
            "Delete what is retained?",
            f"An empty retained message deletes the one that is retained under {topic}. Who subscribes now is told.",
            "Delete",
        )

    def _send(self, draft: Draft, payload: bytes) -> Outcome:
        """Raises AdminFault."""
        published = self._look.admin.publish(
            draft.topic,
            payload,
            qos=draft.qos,
            retain=draft.retain,
            properties=properties_of(draft),
            viewer=self._look.viewer,
        )
        return outcome(published, draft.retain, not payload)

    def _send_several(self, draft: Draft, payload: bytes) -> None:
        times, interval = self._times.value, self._interval.value
        try:
            sending = Sending(lambda: self._send(draft, payload).text, int(times or 0), float(interval or 0))
        except ValueError:
            raise DraftFault(f"give 1 to {SENDS} times, and a pause up to {LONGEST_INTERVAL_S:g} s") from None
        self._progress = self._note(draft.topic, Outcome(f"0 of {sending.times} sent.", "faint", "schedule_send"))
        self._sending = sending
        background_tasks.create(sending.run(), name="publish several times")
        self._under_way(True)

    def _ask(self, draft: Draft, payload: bytes) -> None:
        wait = self._wait.value
        if wait is None or not 0.5 <= wait <= LONGEST_WAIT_S:
            raise DraftFault(f"wait for 0.5 to {LONGEST_WAIT_S:g} s")
        draft = replace(
            draft,
            response_topic=draft.response_topic or new_response_topic(),
            correlation_data=draft.correlation_data or new_correlation_data(),
        )
        try:
            check_topic(draft.response_topic)
        except DraftFault as fault:
            raise DraftFault(f"response topic: {fault}") from None
        self._form.fill_request(draft.response_topic, draft.correlation_data)
        feed = self._look.admin.watch_topics(draft.response_topic, self._look.viewer)
        answers = Answers(feed, draft.correlation_data.encode(), wait, time.time)
        try:
            self._note(draft.topic, self._send(draft, payload))
        except AdminFault:
            answers.close()
            raise
        self._answer_list.clear()
        self._answers_card.set_visibility(True)
        charts.show(self._waiting, f"Waiting {wait:g} s for answers on {draft.response_topic} …")
        self._answers = answers
        self._under_way(True)

    def _stop(self) -> None:
        if self._sending is not None:
            self._sending.stop()
        if self._answers is not None:
            self._answers.close()

    def _under_way(self, is_under_way: bool) -> None:
        self._timer.active = is_under_way
        self._publish.set_enabled(not is_under_way)
        self._stop_button.set_visibility(is_under_way)

    def _look_at(self) -> None:
        sending, answers = self._sending, self._answers
        if sending is not None and self._progress is not None:
            charts.show(self._progress, sending.told())
            if sending.done:
                self._sending = None
                if sending.fault is not None:
                    ui.notify(str(sending.fault), type="negative")
        if answers is not None:
            for answer in answers.take():
                self._show_answer(answer)
            if answers.closed:
                self._answers = None
                charts.show(self._waiting, _counted(answers.count))
        if self._sending is None and self._answers is None:
            self._under_way(False)

    def _note(self, topic: str, what: Outcome) -> ui.label:
        """In the list of outcomes; the text of it."""
        self._nothing.set_visibility(False)
        with self._log, ui.row().classes("w-full items-start no-wrap gap-3") as row:
            ui.icon(what.icon, size="1.25rem").classes(f"{what.colour} mt-[2px]").props("aria-hidden=true")
            with ui.column().classes("gap-0 min-w-0 flex-1"):
                text = ui.label(what.text).classes("break-words min-w-0 small")
                ui.label(f"{words.clock(time.time())[:8]} · {topic}").classes("faint small mono break-all figure")
        row.move(target_index=0)
        children = list(self._log)
        if len(children) > LOGGED:
            children[-1].delete()
        return text

    def _show_answer(self, answer: Answer) -> None:
        with self._answer_list, ui.column().classes("w-full gap-1"):
            if answer.is_ours:
                told, colour = "its correlation data is ours", "in-tide"
            elif answer.has_correlation:
                told, colour = "to another request: its correlation data differs", "faint"
            else:
                told, colour = "it has no correlation data", "faint"
            more = f"; {answer.unseen} more came in the same moment" if answer.unseen else ""
            ui.label(f"after {answer.after_s:.1f} s, {words.size(answer.payload_bytes)}; {told}{more}").classes(
                f"small {colour}"
            )
            show_payload(answer.payload, answer.payload_bytes)


def _counted(count: int) -> str:
    if not count:
        return "No answer came in this time."
    return "One answer came." if count == 1 else f"{count} answers came."
