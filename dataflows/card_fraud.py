"""The reference definition: is this card payment fraud?

Payments are scored, and what became known of earlier ones, their labels, counts too; both are what
``noskew simulate`` makes. ``amount`` and the hour are of the payment alone. Statistics by
``customer_id``, the topic's key, say whether the payment fits its customer; those by
``terminal_id`` say what happens at the terminal, and with ``delay="7d"`` what happened there up to
a week ago: the days whose frauds are known by now. A label takes its place at its payment's time
when it is known, days later (``available``), and replaces an earlier one (``revise``).
``noskew check dataflows/card_fraud.py`` prints names and meaning.
"""

from noskew.dataflows import Model, Pipeline, Stream

payments = Stream(
    "payments",
    topic="transactions",
    schema="transaction.avsc",
    id="transaction_id",
    key="customer_id",
    time="event_time",
)
labels = Stream(
    "labels",
    topic="fraud_labels",
    schema="label.avsc",
    id="transaction_id",
    key="customer_id",
    time="event_time",
    available="labelled_at",
    allowed_lateness="60d",
    revise=True,
)
card = payments.by("customer_id")
terminal = payments.by("terminal_id")
amount = payments.column("amount_cents")

pipeline = Pipeline(
    name="card_fraud",
    score=payments,
    features=[
        amount,
        payments.hour(),
        payments.weekday(),
        card.count(over=["1h", "1d", "7d", "30d"]),
        card.sum("amount_cents", over="1d"),
        card.mean("amount_cents", over=["1d", "7d", "30d"]),
        card.min("amount_cents", over="30d"),
        card.max("amount_cents", over="30d"),
        (amount / card.mean("amount_cents", over="30d")).named("amount_vs_mean_30d"),
        card.since_last(),
        terminal.count(over=["1d", "7d", "30d"], delay="7d"),
        terminal.sum("amount_cents", over="1d"),
        terminal.mean("amount_cents", over="30d", delay="7d"),
        terminal.min("amount_cents", over="7d", delay="7d"),
        terminal.max("amount_cents", over="7d"),
        labels.by("terminal_id").sum("is_fraud", over=["1d", "7d", "30d"], delay="7d"),
    ],
    model=Model("card_fraud"),
)
