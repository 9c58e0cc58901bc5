"""Looks writers' schemas up without ever making the pipeline wait for the registry.

An id that is not known yet is asked for on a thread; until it is answered its records wait and
everything else goes on (DESIGN section 7: a registry that is away is not poison).
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import RegistryAwayError, UnknownSchemaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.schemas.writer import Schemas, WriterSchema

RETRY_S = 1.0
"""Pause before an unreachable registry is asked again."""

REFUSED_MAX = 10_000
"""Ids remembered as unusable; beyond it the oldest answer is forgotten and asked for again."""

REFUSED_FOR_S = 60.0
"""How long an id counts as unusable: it may be registered, or be replicated, a moment later."""


class Resolver:
    """Answers from memory; asks the registry in the background.

    Ids the registry does not know, or whose schema must not be used, are remembered here and
    nowhere else, for a minute. Asking again changes nothing for records that are dead letters
    already: the journal keeps those.

    clock   s, monotonic
    """

    def __init__(self, registry: Schemas, clock: Callable[[], float] = time.monotonic) -> None:
        self.away: str | None = None
        """Why the registry does not answer; None while it does."""
        self._registry = registry
        self._clock = clock
        self._known: dict[int, WriterSchema] = {}
        self._refused: dict[int, tuple[float, Exception]] = {}
        self._asked: set[int] = set()
        self._questions: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="noskew-registry", daemon=True)
        self._thread.start()

    def schema(self, schema_id: int) -> WriterSchema:
        """Return the schema of an id.

        Raises UnknownSchemaError or UnsafeSchemaError where that is the registry's answer,
        RegistryAwayError while there is none.
        """
        if schema_id in self._known:
            return self._known[schema_id]
        until_s, refused = self._refused.get(schema_id, (0.0, None))
        if refused is not None and self._clock() < until_s:
            # Anew: an exception raised again and again keeps every frame it went through.
            raise type(refused)(*refused.args)
        if schema_id not in self._asked:
            self._asked.add(schema_id)
            self._questions.put(schema_id)
        raise RegistryAwayError(f"schema {schema_id} is being looked up")

    def answered(self, schema_id: int) -> bool:
        """Return whether an id that was asked for has got its answer."""
        # An answer that was forgotten since is one too: the id is asked for again.
        return schema_id in self._known or schema_id not in self._asked

    def learn(self, schema: WriterSchema) -> None:
        """Take a schema that is already at hand."""
        self._known[schema.id] = schema

    def close(self) -> None:
        """End the thread; a question under way is given up."""
        self._stopped.set()
        self._questions.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while (schema_id := self._questions.get()) is not None and not self._stopped.is_set():
            try:
                self._known[schema_id] = self._registry.schema(schema_id)
                self.away = None
            except (UnknownSchemaError, UnsafeSchemaError) as error:
                self._refuse(schema_id, error)
                self.away = None
            except RegistryAwayError as error:
                self._again(schema_id, str(error))
                continue
            except Exception as error:  # noqa: BLE001 - the thread must live: no id would be answered
                self._again(schema_id, f"{type(error).__name__}: {error}")
                continue
            self._asked.discard(schema_id)

    def _refuse(self, schema_id: int, error: Exception) -> None:
        self._refused.pop(schema_id, None)  # so that the newest stands last
        while len(self._refused) >= REFUSED_MAX:
            self._refused.pop(next(iter(self._refused)))
        self._refused[schema_id] = (self._clock() + REFUSED_FOR_S, error.with_traceback(None))

    def _again(self, schema_id: int, away: str) -> None:
        self.away = away
        self._stopped.wait(RETRY_S)
        self._questions.put(schema_id)
