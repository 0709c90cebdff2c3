"""Answers on disk: a second run asks nothing again, and a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from oddwatch.core import InputError, Prompt

APPLICATION_ID = 0x0DD3A75
"""Marks the file as ours in SQLite's header."""
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, version TEXT NOT NULL,
    raw TEXT NOT NULL, yes REAL, calls INTEGER NOT NULL, seconds REAL NOT NULL, made REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the model said (its last word, after a repair), and what that took."""

    raw: str
    yes: float | None = None
    calls: int = 1
    seconds: float = 0.0


def key(model: str, prompt: Prompt, images: Sequence[str], schema: str) -> str:
    """One name for a question: the model, the prompt file and its version, the words, the pictures' hashes and
    the schema."""
    parts = [model, prompt.name, prompt.version, prompt.system, prompt.text, list(images), schema]
    return hashlib.blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


class AnswerCache:
    """Answers in an SQLite file that several threads and processes may use at once; every answer is written as it comes.

    Only what a model said is kept, never a failure to reach it; what is read is checked against the schema again.

    Raises:
        InputError: the file is no answer cache, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Answers tell about people: for the user's own eyes.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, timeout=30, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise InputError(str(self.path), f"no answer cache can be kept here: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise InputError(str(self.path), f"not an answer cache: {error}", "name another file") from error
        except InputError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        mark = self._db.execute("PRAGMA application_id").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if mark != APPLICATION_ID and tables:
            raise InputError(str(self.path), "another program's database", "name another file")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._db.execute(TABLE)

    def get(self, key: str) -> Stored | None:
        """What was said to the question of this key, or None."""
        with self._lock, closing(self._db.cursor()) as cursor:
            row = cursor.execute(
                "SELECT raw, yes, calls, seconds FROM answers WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else Stored(*row)

    def put(self, key: str, model: str, prompt: Prompt, stored: Stored) -> None:
        """Keep an answer, in place of an older one of the same key."""
        row = (key, model, prompt.name, prompt.version, stored.raw, stored.yes, stored.calls, stored.seconds)
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?,?)", (*row, time.time()))

    def seconds_per_answer(self, model: str) -> float | None:
        """Mean seconds of the model's answers here, or None."""
        with self._lock:
            found = self._db.execute("SELECT avg(seconds) FROM answers WHERE model = ?", (model,)).fetchone()[
                0
            ]
        return None if found is None else float(found)

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file; answers are on disk already."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
