"""Windows in plain Python, written by hand and well: what the kernels are measured against.

Lists and positions per key, totals as integers, minima and maxima as monotonic deques. Payments
must come in order of time: one before the newest is beyond what these can do. Labels need not.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MONTH: Final = 30 * DAY
_TRIM: Final = 512
"""Entries no window needs any more, before they are cut off."""

NO_TERMINAL: Final[tuple[float, ...]] = (0, 0, 0, 0, math.nan, math.nan, math.nan)
"""What ``Terminal.add`` returns of an empty history."""
NO_LABELS: Final[tuple[float, ...]] = (0, 0, 0)
"""What ``Labels.read`` returns of an empty history."""


class Windows:
    """One key's windows, any number of them: count, sum, mean and max of each."""

    __slots__ = ("low", "most", "times", "totals", "values", "widths_us")

    def __init__(self, widths_us: Sequence[int]) -> None:
        """Take widths in ascending order."""
        self.widths_us = widths_us
        self.times: list[int] = []
        self.values: list[int] = []
        self.low = [0] * len(widths_us)
        self.totals = [0] * len(widths_us)
        self.most: list[deque[tuple[int, int]]] = [deque() for _ in widths_us]

    def add(self, time_us: int, value: int) -> list[float]:
        """Add an event; return all counts, then all sums, means and maxima."""
        times, values, low = self.times, self.values, self.low
        times.append(time_us)
        values.append(value)
        size = len(times)
        counts: list[float] = []
        sums: list[float] = []
        means: list[float] = []
        maxima: list[float] = []
        for window, width_us in enumerate(self.widths_us):
            edge_us = time_us - width_us
            at = low[window]
            total = self.totals[window] + value
            while times[at] <= edge_us:
                total -= values[at]
                at += 1
            low[window] = at
            self.totals[window] = total
            most = self.most[window]
            while most and most[-1][1] <= value:
                most.pop()
            most.append((time_us, value))
            while most[0][0] <= edge_us:
                most.popleft()
            counts.append(size - at)
            sums.append(total)
            means.append(total / (size - at))
            maxima.append(most[0][1])
        if low[-1] > _TRIM:
            gone = low[-1]
            del times[:gone], values[:gone]
            self.low = [at - gone for at in low]
        return counts + sums + means + maxima


class Unordered:
    """As ``Windows``, for events in any order: exact, and slow where a window holds much."""

    __slots__ = ("times", "values", "widths_us")

    def __init__(self, widths_us: Sequence[int]) -> None:
        self.widths_us = widths_us
        self.times: list[int] = []
        self.values: list[int] = []

    def add(self, time_us: int, value: int) -> list[float]:
        """Add an event; return all counts, then all sums, means and maxima."""
        at = bisect_right(self.times, time_us)
        self.times.insert(at, time_us)
        self.values.insert(at, value)
        members = [
            self.values[bisect_right(self.times, time_us - width_us) : at + 1]
            for width_us in self.widths_us
        ]
        counts, sums = list(map(len, members)), list(map(sum, members))
        means = [total / count for total, count in zip(sums, counts, strict=True)]
        return [*counts, *sums, *means, *map(max, members)]


class Customer:
    """One customer of payments.py."""

    __slots__ = (
        "amounts", "day", "day_sum", "hour", "least", "month", "month_sum", "most", "times",
        "week", "week_sum",
    )  # fmt: skip

    def __init__(self) -> None:
        self.times: list[int] = []
        self.amounts: list[int] = []
        self.hour = self.day = self.week = self.month = 0
        self.day_sum = self.week_sum = self.month_sum = 0
        self.least: deque[tuple[int, int]] = deque()
        self.most: deque[tuple[int, int]] = deque()

    def add(self, now: int, cents: int) -> tuple[float, ...]:
        """Add a payment; return features 3 to 12 of the vector, then ``since_last``."""
        times, amounts = self.times, self.amounts
        since = (now - times[-1]) / 1_000_000 if times else math.nan
        times.append(now)
        amounts.append(cents)
        size = len(times)
        hour, day, week, month = self.hour, self.day, self.week, self.month
        edge = now - HOUR
        while times[hour] <= edge:
            hour += 1
        edge, day_sum = now - DAY, self.day_sum + cents
        while times[day] <= edge:
            day_sum -= amounts[day]
            day += 1
        edge, week_sum = now - WEEK, self.week_sum + cents
        while times[week] <= edge:
            week_sum -= amounts[week]
            week += 1
        edge, month_sum = now - MONTH, self.month_sum + cents
        while times[month] <= edge:
            month_sum -= amounts[month]
            month += 1
        least, most = self.least, self.most
        while least and least[-1][1] >= cents:
            least.pop()
        least.append((now, cents))
        while least[0][0] <= edge:
            least.popleft()
        while most and most[-1][1] <= cents:
            most.pop()
        most.append((now, cents))
        while most[0][0] <= edge:
            most.popleft()
        found = (
            size - hour, size - day, size - week, size - month, day_sum,
            day_sum / (size - day), week_sum / (size - week), month_sum / (size - month),
            least[0][1], most[0][1], since,
        )  # fmt: skip
        if month > _TRIM:
            del times[:month], amounts[:month]
            hour, day, week, month = hour - month, day - month, week - month, 0
        self.hour, self.day, self.week, self.month = hour, day, week, month
        self.day_sum, self.week_sum, self.month_sum = day_sum, week_sum, month_sum
        return found


class Terminal:
    """One terminal of payments.py. Windows with a delay end a week ago: at ``entered``."""

    __slots__ = (
        "amounts", "day", "day_sum", "delayed_day", "delayed_month", "delayed_sum",
        "delayed_week", "entered", "least", "most", "times",
    )  # fmt: skip

    def __init__(self) -> None:
        self.times: list[int] = []
        self.amounts: list[int] = []
        self.day = self.entered = 0
        self.delayed_day = self.delayed_week = self.delayed_month = 0
        self.day_sum = self.delayed_sum = 0
        self.least: deque[tuple[int, int]] = deque()
        self.most: deque[tuple[int, int]] = deque()

    def add(self, now: int, cents: int) -> tuple[float, ...]:
        """Add a payment; return features 15 to 21 of the vector."""
        times, amounts = self.times, self.amounts
        times.append(now)
        amounts.append(cents)
        day, entered = self.day, self.entered
        first, second, third = self.delayed_day, self.delayed_week, self.delayed_month
        edge, day_sum = now - DAY, self.day_sum + cents
        while times[day] <= edge:
            day_sum -= amounts[day]
            day += 1
        edge, delayed_sum, least = now - WEEK, self.delayed_sum, self.least
        while times[entered] <= edge:
            amount = amounts[entered]
            delayed_sum += amount
            while least and least[-1][1] >= amount:
                least.pop()
            least.append((times[entered], amount))
            entered += 1
        most = self.most
        while most and most[-1][1] <= cents:
            most.pop()
        most.append((now, cents))
        while most[0][0] <= edge:
            most.popleft()
        edge = now - WEEK - DAY
        while times[first] <= edge:
            first += 1
        edge = now - WEEK - WEEK
        while times[second] <= edge:
            second += 1
        while least and least[0][0] <= edge:
            least.popleft()
        edge = now - WEEK - MONTH
        while times[third] <= edge:
            delayed_sum -= amounts[third]
            third += 1
        members = entered - third
        found = (
            entered - first, entered - second, members, day_sum,
            delayed_sum / members if members else math.nan,
            least[0][1] if least else math.nan, most[0][1],
        )  # fmt: skip
        if third > _TRIM:
            del times[:third], amounts[:third]
            day, entered = day - third, entered - third
            first, second, third = first - third, second - third, 0
        self.day, self.entered = day, entered
        self.delayed_day, self.delayed_week, self.delayed_month = first, second, third
        self.day_sum, self.delayed_sum = day_sum, delayed_sum
        return found


class Labels:
    """What became known of the payments at one terminal, by the payments' times."""

    __slots__ = ("frauds", "payments", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.payments: list[int] = []
        self.frauds: list[int] = []

    def add(self, time_us: int, payment: int, fraud: int) -> None:
        """Put a label in its place, or in that of an earlier one of the same payment."""
        times = self.times
        at, size = bisect_left(times, time_us), len(times)
        while at < size and times[at] == time_us:
            if self.payments[at] == payment:
                self.frauds[at] = fraud
                return
            at += 1
        times.insert(at, time_us)
        self.payments.insert(at, payment)
        self.frauds.insert(at, fraud)

    def read(self, now: int) -> tuple[float, ...]:
        """Return the frauds of 1, 7 and 30 days that ended a week ago."""
        times, frauds = self.times, self.frauds
        end = bisect_right(times, now - WEEK)
        day = bisect_right(times, now - WEEK - DAY, 0, end)
        week = bisect_right(times, now - WEEK - WEEK, 0, day)
        month = bisect_right(times, now - WEEK - MONTH, 0, week)
        of_day = sum(frauds[day:end])
        of_week = of_day + sum(frauds[week:day])
        of_month = of_week + sum(frauds[month:week])
        if month > _TRIM:
            del times[:month], frauds[:month], self.payments[:month]
        return of_day, of_week, of_month


class CardFraud:
    """All keys of the reference definition, payments and labels."""

    __slots__ = ("customers", "labels", "terminals")

    def __init__(self) -> None:
        self.customers: dict[int, Customer] = {}
        self.terminals: dict[int, Terminal] = {}
        self.labels: dict[int, Labels] = {}

    def payment(self, now: int, customer: int, terminal: int | None, cents: int) -> list[float]:
        """Add a payment; return its vector."""
        one = self.customers.get(customer)
        if one is None:
            one = self.customers[customer] = Customer()
        card = one.add(now, cents)
        place, known = NO_TERMINAL, NO_LABELS
        if terminal is not None:
            other = self.terminals.get(terminal)
            if other is None:
                other = self.terminals[terminal] = Terminal()
            place = other.add(now, cents)
            labels = self.labels.get(terminal)
            if labels is not None:
                known = labels.read(now)
        ratio = cents / card[7] if card[7] else math.nan
        return [
            cents, now // HOUR % 24, (now // DAY + 3) % 7,
            *card[:10], ratio, card[10], *place, *known,
        ]  # fmt: skip

    def label(self, now: int, terminal: int | None, payment: int, fraud: int) -> None:
        """Take note of a label, which speaks of a payment at ``now``."""
        if terminal is None:
            return
        labels = self.labels.get(terminal)
        if labels is None:
            labels = self.labels[terminal] = Labels()
        labels.add(now, payment, fraud)
