"""What the whole pipeline is measured with: payments alone, two entities, 22 features.

Everything the plain-Python flow beside it (``baseline.py``) computes too, and nothing else; the
reference definition with its labels is measured by ``reference.py``. A user's file has the same
names from ``noskew.dataflows``.
"""

from noskew.dataflows.definition.stream import Model, Pipeline, Stream

payments = Stream(
    "payments",
    topic="transactions",
    schema="transaction.avsc",
    id="transaction_id",
    key="customer_id",
    time="event_time",
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
    ],
    model=Model("card_fraud"),
)
