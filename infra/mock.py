"""A stand-in for the stack where Maven is missing: librdkafka's mock broker, a small registry.

    with MockStack(directory, topics={"transactions": 8}) as stack:
        stack.brokers, stack.registry, stack.redis

Redis is the real one. The broker lives in this process, inside librdkafka, and other processes
can use it like any other; what it cannot do (measured on librdkafka 2.16):

* topics come into being when a client asks for their metadata, with 4 partitions, or before that
  through ``create_topic`` here with any number; ``AdminClient.create_topics`` fails;
* a partition keeps its newest 5 MB and forgets the rest; nothing outlives this process;
* no times (``offsets_for_times``), no fencing, no transactions that hide what was aborted.

So it is for a demonstration and for quick tests, and never for a promise.
"""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

# The only use of confluent_kafka outside its homes: the mock broker is a part of librdkafka that
# no other program offers, and it is reached through the library which this package carries.
from confluent_kafka import cimpl

from noskew.infra.mock_registry import MockRegistry
from noskew.infra.processes import StackError
from noskew.infra.stack import down, start_redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_PRODUCER: Final = 0  # RD_KAFKA_PRODUCER of rdkafka.h

_SIGNATURES: Final = {
    "rd_kafka_conf_new": (ctypes.c_void_p, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
    "rd_kafka_mock_topic_create": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    ),
}


class MockBroker:
    """librdkafka's mock cluster of one broker, on a free loopback port.

    Raises:
        StackError: this build of librdkafka has no mock broker.

    """

    def __init__(self) -> None:
        self._library = _library()
        said = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        # Errors only: a handle without brokers of its own else warns about just that.
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"3", said, len(said))
        self._handle = self._library.rd_kafka_new(_PRODUCER, configuration, said, len(said))
        if not self._handle:
            message = f"librdkafka refused a handle for its mock broker: {said.value.decode()}"
            raise StackError(message)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            self._library.rd_kafka_destroy(self._handle)
            message = "librdkafka could not start its mock broker; are loopback ports to be had?"
            raise StackError(message)
        address = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        self.brokers: str = address.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic with so many partitions.

        Raises:
            StackError: the broker has it already, made by hand or by being asked for.

        """
        code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if code != 0:
            message = f"the mock broker has topic {name} already (librdkafka error {code})"
            raise StackError(message)

    def close(self) -> None:
        """End the broker; its topics are gone."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


class MockStack:
    """Broker, registry and Redis for the length of a ``with``; addresses as ``Stack`` has them."""

    brokers: str
    registry: str
    redis: str

    def __init__(self, directory: Path, *, topics: Mapping[str, int]) -> None:
        self._directory = directory
        self._topics = topics
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            broker = MockBroker()
            opening.callback(broker.close)
            for name, partitions in self._topics.items():
                broker.create_topic(name, partitions)
            registry = opening.enter_context(MockRegistry())
            opening.callback(down, self._directory)
            redis = start_redis(self._directory)
            self.brokers, self.registry, self.redis = broker.brokers, registry.url, redis.redis
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()


def _library() -> ctypes.CDLL:
    """Return librdkafka: its symbols are found through the extension that links to it."""
    library = ctypes.CDLL(cimpl.__file__)
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError as absent:
            message = f"this build of librdkafka has no {name}; install Maven for a real broker"
            raise StackError(message) from absent
        function.restype = result
        function.argtypes = arguments
    return library
