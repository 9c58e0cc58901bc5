"""Every mistake a definition can make, and what the message says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

PREAMBLE = """\
from noskew.dataflows import Model, Pipeline, Stream
GIVEN = dict(topic="payments", schema="payment.avsc", id="payment_id", key="customer_id",
             time="event_time")
payments = Stream("payments", **GIVEN)
card = payments.by("customer_id")
amount = payments.column("amount_cents")
def feature(one): return Pipeline(name="p", score=payments, features=[one])
def features(*some): return Pipeline(name="p", score=payments, features=[*some])
def stream(**changes):
    return Pipeline(name="p", score=(s := Stream("payments", **(GIVEN | changes))),
                    features=[s.hour()])
def limited(limits): return Stream("payments", max_abs=limits, **GIVEN)
"""
LINES = PREAMBLE.count("\n")

STREAMS = [
    ("stream(topic='a b')", ["topic='a b'", "letters, digits"]),
    ("stream(topic='')", ["topic=''"]),
    ("stream(topic=7)", ["topic=7"]),
    ("stream(schema='paymnt.avsc')", ["paymnt.avsc", "relative", "transaction.avsc"]),
    ("stream(schema='x/transaction.avsc')", ["no schema", "x/transaction.avsc"]),
    ("stream(schema={})", ["schema is {}", ".avsc"]),
    ("stream(schema='text.avsc')", ["text.avsc is not JSON", "line 1"]),
    ("stream(schema='enum.avsc')", ["enum.avsc is not an Avro record", '"record"']),
    ("stream(schema='nameless.avsc')", ["nameless.avsc", "every field needs a name", "KeyError"]),
    ("stream(schema='binary.avsc')", ["binary.avsc cannot be read"]),
    ("stream(id='payment')", ["id= names 'payment'", "did you mean 'payment_id'?"]),
    ("stream(key='zzz')", ["key= names 'zzz'", "there are payment_id, customer_id"]),
    ("stream(time=None)", ["time= names None"]),
    ("stream(id='ratio')", ["id='ratio' is double", "int, long or string"]),
    ("stream(key='is_online')", ["key='is_online' is boolean", "int, long or string"]),
    ("stream(time='unix_seconds')", ["time='unix_seconds' is long in", "timestamp-micros"]),
    ("stream(time='country')", ["time='country' is string in", "timestamp-millis"]),
    ("stream(time='local_at')", ["long (local-timestamp-micros)", "unit and zone"]),
    ("stream(available='amount_cents')", ["available='amount_cents' is long"]),
    ("stream(available='record_timestamp')", ["'record_timestamp' comes with", "leave it out"]),
    ("stream(allowed_lateness='1 hour')", ["'payments': allowed_lateness", "'1 hour'", "'1h'"]),
    ("stream(max_skew=86400)", ["max_skew is 86400", "'1d'"]),
    ("stream(max_abs=0)", ["max_abs is 0", "from 1 to 2^40 = 1099511627776"]),
    ("stream(max_abs=2**40 + 1)", ["max_abs is 1099511627777"]),
    ("stream(max_abs=True)", ["max_abs is True"]),
    ("stream(max_abs=1e6)", ["max_abs is 1000000.0", "whole number"]),
    ("stream(max_abs={'amount': 5})", ["max_abs= names 'amount'", "'amount_cents'?"]),
    ("stream(max_abs={'amount_cents': 2**54})", ["max_abs of 'amount_cents'", "2^53"]),
    ("stream(max_abs={'country': 5})", ["max_abs of 'country'", "string", "leave it out"]),
    ("stream(max_abs={'amount_cents': 5})", ["'amount_cents'", "no feature reads"]),
    ("stream(dedupe='1h')", ["Stream: dedupe= comes in a later version", "every record counts"]),
    ("stream(revise=True)", ["revise= comes in a later version"]),
    ("stream(quantum='1e-2')", ["quantum= comes", "minor units"]),
    ("stream(topics='x')", ["no argument 'topics'", "did you mean 'topic'?"]),
    ("Stream('pay ments', **GIVEN)", ["Stream: 'pay ments' is no name", "'pay_ments'"]),
    ("Stream('7up', **GIVEN)", ["'7up'", "'_7up'"]),
]

FEATURES = [
    ("payments.by('terminal')", ["by() names 'terminal'", "did you mean 'terminal_id'?"]),
    ("payments.by('ratio')", ["by('ratio') is double", "int, long or string"]),
    ("payments.by('entry_mode')", ["by('entry_mode') is enum"]),
    ("payments.column('amount')", ["column() names 'amount'", "'amount_cents'?", "payment.avsc"]),
    ("payments.column('country')", ["'country') is string", "by()"]),
    ("payments.column('tags')", ["'tags') is array", "can be read"]),
    ("payments.column('either')", ["'either') is union"]),
    ("payments.column('blob')", ["'blob') is bytes"]),
    ("payments.hour(utc_offset='CET')", ["'CET'", "'+02:00'"]),
    ("payments.hour(zone='CET')", ["hour: there is no argument 'zone'", "utc_offset"]),
    ("card.count()", [".count()", "all of history", 'over="30d"']),
    ("card.sum('amount_cents', over=None)", [".sum()", "all of history"]),
    ("card.count(over='90')", ["payments.by('customer_id').count(): over: '90'"]),
    ("card.count(over='0h')", ["over: '0h' is empty", "'1s'"]),
    ("card.count(over='-1h')", ["over: '-1h' is not a duration"]),
    ("card.count(over=3600)", ["over is 3600", "'1h'"]),
    ("card.count(over=[])", ["over=[] has no window"]),
    ("card.count(over=['1h', 7])", ["over is 7", "'7s'"]),
    ("card.count(over='1d', delay='x')", ["delay: 'x' is not a duration"]),
    ("card.count(over='1d', delay=['7d'])", ["delay is ['7d']"]),
    ("card.count(over='36500d', delay='1s')", ["over 36500d and delay 1s together"]),
    ("card.mean('amount', over='1h')", ["names 'amount'", "did you mean 'amount_cents'?"]),
    ("card.mean(['amount_cents'], over='1h')", ["names ['amount_cents']"]),
    ("card.sum('ratio', over='1h')", ["'ratio' is double", "minor units", "quantum="]),
    ("card.max('country', over='1h')", ["'country' is string", "by('country')"]),
    ("card.count('country', over='1h')", ["'country' is string", "count()"]),
    ("card.mean('entry_mode', over='1h')", ["mean of an enum's index", "column('entry_mode')"]),
    ("card.mean('other_mode', over='1h')", ["mean of an enum's index"]),
    ("card.min('event_time', over='1h')", ["times are beyond", "since_last()"]),
    ("card.count('tags', over='1h')", ["'tags' is array", "only int, long and boolean"]),
    ("card.since_last(over='1h')", ["since_last: over= has no meaning", "since_last()"]),
    ("card.since_last(1)", ["TypeError", "positional"]),
    ("card.mean(over='1h')", ["TypeError", "'column'"]),
    ("card.count(over='1h', closed='left')", ["count: closed= comes", "T - delay - over < t"]),
    ("card.count(over='1h', include_self=False)", ["include_self= comes"]),
    ("card.count(over='1h', where=amount)", ["where= comes", "take all events"]),
    ("card.count(over='1h', resolution='1h')", ["resolution= comes", "exact"]),
    ("card.count(over='1h', empty=0)", ["empty= comes", "count 0"]),
    ("card.count(ovre='1h')", ["no argument 'ovre'", "'over'?"]),
    ("card.var('amount_cents', over='1h')", ["var() comes in a later version", "mean("]),
    ("card.std('amount_cents', over='1h')", ["std() comes"]),
    ("card.first('amount_cents', over='1h')", ["first() comes"]),
    ("card.last('amount_cents', over='1h')", ["last() comes"]),
    ("card.distinct('country', over='1h')", ["distinct() comes"]),
    ("card.rate(over='1h')", ["rate() comes", "count(over=...) / seconds"]),
    ("card.decayed_sum('amount_cents', half_life='1h')", ["decayed_sum() comes"]),
    ("card.decayed_count(half_life='1h')", ["decayed_count() comes"]),
    ("card.ewma('amount_cents', half_life='1h')", ["ewma() comes"]),
    ("card.median('amount_cents')", ["no statistic 'median'", "count, sum, mean, min, max"]),
    ("amount.named('a b')", ["named('a b'): 'a b' is no name", "'a_b'"]),
    ("amount.named(3)", ["3 is no name"]),
    ("amount.named('a' * 201)", ["201 characters", "at most 200"]),
    ("amount.named('é')", ["'é' is no name", "'_'"]),
    ("card.count(over=['1h', '1d']).named('n')", ["named takes one feature", "a group of 2"]),
    ("amount / card.count(over=['1h', '1d'])", ["'/' takes one feature", "customer_id_count_1d"]),
    ("1 + card.count(over=['1h', '1d'])", ["'+' takes one feature"]),
    ("amount * True", ["'*' with True", "features and numbers"]),
    ("amount - 'x'", ["'-' with 'x'"]),
    ("amount - card", ["'-' with Entity"]),
    ("amount + float('inf')", ["'+' with inf", "finite"]),
    ("amount + (2**53 + 1)", ["9007199254740993 is beyond 2^53"]),
    ("sum([amount] * 258)", ["257 operations", "at most 256"]),
    ("-amount", ["-(amount_cents)", "-1 * (amount_cents)"]),
    ("amount > 5", ["amount_cents is compared"]),
    ("5 <= amount", ["amount_cents is compared"]),
    ("amount if amount else 0", ["amount_cents has no truth value", "features=[...]"]),
    ("not (amount / 2)", ["amount_cents / 2 has no truth value"]),
    ("bool(card.count(over=['1h', '1d']))", ["[customer_id_count_1h, customer_id_count_1d]"]),
    ("amount ** 2", ["TypeError", "**"]),
]

PIPELINES = [
    ("features()", ["pipeline 'p': 0 features", "65536"]),
    ("feature(amount / 2)", ["features[0], amount_cents / 2, has no name", ".named('...')"]),
    ("feature(3)", ["features[0]: 3 is no feature", "stream.column('name')"]),
    ("feature('amount_cents')", ["features[0]: 'amount_cents' is no feature"]),
    ("features(amount, card)", ["features[1]", "is an entity", ".count(over='1d')"]),
    ("feature([amount])", ["features[0]", "is no feature"]),
    ("features(amount, amount)", ["'amount_cents' is given twice"]),
    (
        "features(amount, amount.named('a'))",
        ["'amount_cents' and 'a' are given twice (amount_cents)"],
    ),
    ("feature(card.count(over=['1d', '24h']))", ["'customer_id_count_1d' is given twice"]),
    (
        "features(amount.named('x'), payments.hour().named('x'))",
        ["two features have the name 'x'", "amount_cents; and hour of event_time (UTC)"],
    ),
    ("feature(payments.column('event_time'))", ["'event_time'", ".named('event_time_value')"]),
    ("feature(amount.named('score'))", ["'score'", "replayed files"]),
    ("feature(amount.named('flags'))", ["'flags'", "replayed files"]),
    (
        "feature(Stream('labels', **GIVEN).hour())",
        ["'hour' is of stream 'labels'", "'payments' is scored", "later version"],
    ),
    (
        "feature((amount / Stream('labels', **GIVEN).hour()).named('x'))",
        ["'x' is of stream 'labels'"],
    ),
    ("feature(Stream('payments', **GIVEN).hour())", ["another Stream object", "'payments'"]),
    ("Pipeline(name='a/b', score=payments, features=[amount])", ["'a/b'", "'a_b'"]),
    ("Pipeline(name='', score=payments, features=[amount])", ["name ''", "'fraud'"]),
    ("Pipeline(name='p' * 201, score=payments, features=[amount])", ["at most 200"]),
    ("Pipeline(name='p', score=card, features=[amount])", ["is no stream", "score=Stream(...)"]),
    ("Pipeline(name='p', score=payments, features=amount)", ["no list", "features=[...]"]),
    ("Pipeline(name='p', score=payments, features='ab')", ["features[0]: 'a' is no feature"]),
    (
        "Pipeline(name='p', score=payments, features=[amount], model='m')",
        ["model='m' is no model", "model=Model('m')"],
    ),
    ("Model('a b')", ["Model: name 'a b'", "'a_b'"]),
    ("Pipeline(name='p', score=payments, features=[amount], preset='x')", ["preset= comes"]),
    ("Pipeline(score=payments, features=[amount])", ["TypeError", "'name'"]),
    (
        "stream(topic='p.scores')",
        ["'p.scores', which it also writes", "p.journal"],
    ),
    (
        "limited({'amount_cents': 2**41}).by('customer_id').sum('amount_cents', over='1d')",
        ["max_abs of 'amount_cents' is 2199023255552", "at most 2^40 = 1099511627776"],
    ),
]


@pytest.fixture
def definition(schema_path: Path) -> Path:
    folder = schema_path.parent
    (folder / "text.avsc").write_text("record Payment")
    (folder / "enum.avsc").write_text('{"type": "enum", "name": "E", "symbols": ["A"]}')
    (folder / "nameless.avsc").write_text('{"type": "record", "name": "R", "fields": [{}]}')
    (folder / "binary.avsc").write_bytes(b"\xff\xfe\x00")
    return folder / "definition.py"


@pytest.mark.parametrize(("line", "fragments"), STREAMS + FEATURES + PIPELINES)
def test_a_wrong_definition_says_where_what_and_what_to_write(
    definition: Path, line: str, fragments: list[str]
) -> None:
    definition.write_text(f"{PREAMBLE}pipeline = {line}\n")

    with pytest.raises(DefinitionError) as caught:
        compile_plan(load(definition))

    message = str(caught.value)
    assert [one for one in fragments if one not in message] == [], message
    if (line, fragments) in FEATURES:
        assert message.startswith(f"{definition}:{LINES + 1}: ")


def test_more_features_than_a_plan_holds_are_refused(definition: Path) -> None:
    definition.write_text(
        f"{PREAMBLE}pipeline = features(*[amount.named(f'a{{i}}') for i in range(2**16 + 1)])\n"
    )

    with pytest.raises(DefinitionError, match="65537 features; write 1 to 65536"):
        load(definition)


@pytest.mark.parametrize(
    ("schema", "fragments"),
    [
        ('{"type": "record", "name": "R", "fields": [%s, {"name": "x", "type": "lnog"}]}', "lnog"),
        ('{"type": "record", "name": "R", "fields": [%s, {"name": "x", "type": "R"}]}', "R"),
        ('{"type": "record", "fields": [%s]}', "name"),
    ],
)
def test_a_schema_that_no_decoder_takes_is_refused_before_anything_runs(
    definition: Path, schema: str, fragments: str
) -> None:
    fields = (
        '{"name": "id", "type": "long"}, '
        '{"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}}'
    )
    (definition.parent / "odd.avsc").write_text(schema % fields)
    definition.write_text(
        "from noskew.dataflows import Pipeline, Stream\n"
        "s = Stream('s', topic='s', schema='odd.avsc', id='id', key='id', time='t')\n"
        "pipeline = Pipeline(name='p', score=s, features=[s.hour()])\n"
    )

    with pytest.raises(DefinitionError, match="correct the schema") as caught:
        compile_plan(load(definition))

    assert fragments in str(caught.value)
    assert "odd.avsc" in str(caught.value)
