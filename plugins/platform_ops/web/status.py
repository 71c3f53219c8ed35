"""Where a run stands as ``key: value`` lines, for shells without a JSON parser."""

from __future__ import annotations

from platform_ops.common.records import RunRecord
from platform_ops.web.story_model import Story

UNRECORDED = "unrecorded"


def status(run: RunRecord, story: Story, *, page: str) -> str:
    """Return the run's state, what goes on, and once it has ended the verdict; what is not known has no line.

    :param story: what `tell` made of the run. Its texts are single lines, so no value can pretend to be another key.
    :param page: address of the run's page.
    """
    evidence = story.evidence.sha256 if story.evidence else ""
    rows = {"state": run.state, "page": page}
    if story.live:
        doing = story.verdict.title or story.verdict.word
        rows |= {"summary": f"{doing}. {story.verdict.sentence}"}
        rows |= {"answer_at": story.question.url if story.question else ""}
    elif run.state == "success" and not evidence and any(task.task_id == "record_evidence" for task in run.tasks):
        # Green without evidence proves nothing, whatever the steps said.
        rows |= {"verdict": UNRECORDED, "summary": "Airflow calls the run green, but it left no evidence."}
    else:
        rows |= {"verdict": story.verdict.word, "summary": story.verdict.sentence, "evidence_sha256": evidence}
    return "".join(f"{key}: {value}\n" for key, value in rows.items() if value)
