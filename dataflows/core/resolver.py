"""Looks writers' schemas up without ever making the pipeline wait for the registry.

An id that is not known yet is asked for on a thread; until it is answered its records wait and
everything else goes on (DESIGN section 7: a registry that is away is not poison).
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import RegistryAwayError, UnknownSchemaError

if TYPE_CHECKING:
    from noskew.schemas.writer import Schemas, WriterSchema

RETRY_S = 1.0
"""Pause before an unreachable registry is asked again."""

REFUSED_MAX = 10_000
"""Ids remembered as unusable; beyond it the oldest answer is forgotten and asked for again."""


class Resolver:
    """Answers from memory; asks the registry in the background."""

    def __init__(self, registry: Schemas) -> None:
        self.away: str | None = None
        """Why the registry does not answer; None while it does."""
        self._registry = registry
        self._known: dict[int, WriterSchema] = {}
        self._refused: dict[int, Exception] = {}
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
        refused = self._refused.get(schema_id)
        if refused is not None:
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
                while len(self._refused) >= REFUSED_MAX:
                    self._refused.pop(next(iter(self._refused)))
                self._refused[schema_id] = error.with_traceback(None)
                self.away = None
            except RegistryAwayError as error:
                self.away = str(error)
                self._stopped.wait(RETRY_S)
                self._questions.put(schema_id)
                continue
            self._asked.discard(schema_id)
