"""Every mistake a definition can make, and what the message says about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import payment_schema
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
priced = Stream("priced", quantum={"ratio": "1e-2"}, **GIVEN)
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
    (
        "stream(available='record_timestamp', schema='stamped.avsc')",
        ["Kafka's own time, and also a field of", "another name"],
    ),
    ("stream(allowed_lateness='1 hour')", ["'payments': allowed_lateness", "'1 hour'", "'1h'"]),
    ("stream(max_skew=86400)", ["max_skew is 86400", "'1d'"]),
    ("stream(max_abs=0)", ["max_abs is 0", "from 1 to 2^40 = 1099511627776"]),
    ("stream(max_abs=2**40 + 1)", ["max_abs is 1099511627777"]),
    ("stream(max_abs=True)", ["max_abs is True"]),
    ("stream(max_abs=1e6)", ["max_abs is 1000000.0", "whole number"]),
    ("stream(max_abs={'amount': 5})", ["max_abs= names 'amount'", "'amount_cents'?"]),
    ("stream(max_abs={'amount_cents': 2**54})", ["max_abs of 'amount_cents'", "2^53"]),
    ("stream(max_abs={'country': 5})", ["max_abs of 'country'", "string", "leave it out"]),
    ("stream(max_abs={'ratio': 5})", ["max_abs of 'ratio'", "quantum", "leave it out"]),
    (
        "stream(max_abs={'ratio': 2**41}, quantum={'ratio': '1e-2'})",
        ["max_abs of 'ratio'", "2^40"],
    ),
    ("stream(max_abs={'amount_cents': 5})", ["'amount_cents'", "no feature reads"]),
    ("stream(dedupe='0s')", ["dedupe: '0s' is empty", "'1s'"]),
    ("stream(dedupe=60)", ["dedupe is 60", "'1m'"]),
    ("stream(dedupe='1h', revise=True)", ["dedupe drops", "replace", "write one of them"]),
    ("stream(revise='yes')", ["revise is 'yes'", "True or False"]),
    ("stream(revise=True)", ["'payments' is scored", "never replaced"]),
    ("stream(quantum='1e-2')", ["quantum is '1e-2'", "quantum={'amount': '1e-2'}"]),
    ("stream(quantum={'ratoi': '1e-2'})", ["quantum= names 'ratoi'", "'ratio'?"]),
    ("stream(quantum={'amount_cents': '1e-2'})", ["'amount_cents', which is long", "double"]),
    ("stream(quantum={'ratio': 0.01})", ["'ratio' is 0.01", "'1e-2' for cents"]),
    ("stream(quantum={'ratio': '0.01'})", ["'ratio' is '0.01'", "'1e-k'"]),
    ("stream(quantum={'ratio': '1e2'})", ["'1e2', coarser than whole numbers", "'1e-0'"]),
    ("stream(quantum={'ratio': '1e-10'})", ["'1e-10', finer than variances hold", "'1e-9'"]),
    ("stream(topics='x')", ["no argument 'topics'", "did you mean 'topic'?"]),
    ("Stream('pay ments', **GIVEN)", ["Stream: 'pay ments' is no name", "'pay_ments'"]),
    ("Stream('7up', **GIVEN)", ["'7up'", "'_7up'"]),
]

FEATURES = [
    ("payments.by('terminal')", ["by() names 'terminal'", "did you mean 'terminal_id'?"]),
    ("payments.by('ratio')", ["by('ratio') is double", "int, long or string"]),
    ("payments.by('entry_mode')", ["by('entry_mode') is enum"]),
    ("payments.column('amount')", ["column() names 'amount'", "'amount_cents'?", "payment.avsc"]),
    ("payments.column('country') / 2", ["'/': column 'country'", "text is no number", "by()"]),
    ("1 + payments.column('terminal_id')", ["'terminal_id'", "is string, nullable"]),
    ("payments.column('tags')", ["'tags') is array", "can be read"]),
    ("Stream('n', **(GIVEN | {'schema': 'nanos.avsc'})).column('at')", ["nanoseconds", "2^53"]),
    ("payments.column('either')", ["'either') is union"]),
    ("payments.column('blob')", ["'blob') is bytes"]),
    ("payments.hour(utc_offset='CET')", ["'CET'", "'+02:00'"]),
    ("payments.hour(zone='CET')", ["hour: there is no argument 'zone'", "utc_offset"]),
    ("card.count(over='90')", ["payments.by('customer_id').count(): over: '90'"]),
    ("card.count(over='0h')", ["over: '0h' is empty", "'1s'"]),
    ("card.count(over=0)", ["over is 0", "for example '1h'"]),
    ("card.count(over='-1h')", ["over: '-1h' is not a duration"]),
    ("card.count(over=3600)", ["over is 3600", "'1h'"]),
    ("card.count(over=[])", ["over=[] has no window"]),
    ("card.count(over=['1h', 7])", ["over is 7", "'7s'"]),
    ("card.count(over='1d', delay='x')", ["delay: 'x' is not a duration"]),
    ("card.count(over='1d', delay=['7d'])", ["delay is ['7d']"]),
    ("card.count(over='36500d', delay='1s')", ["over 36500d and delay 1s together"]),
    ("card.count(over='36501d')", ["'36501d' is more than 36500d"]),
    ("card.count(delay='36501d')", ["delay: '36501d' is more than 36500d"]),
    ("card.mean('amount', over='1h')", ["names 'amount'", "did you mean 'amount_cents'?"]),
    ("card.mean(['amount_cents'], over='1h')", ["names ['amount_cents']"]),
    ("card.sum('ratio', over='1h')", ["'ratio' is double", "Stream(quantum={'ratio': '1e-2'})"]),
    ("card.distinct('ratio', over='1h')", ["'ratio' is double", "quantum="]),
    ("card.max('country', over='1h')", ["'country' is string", "by('country')", "distinct()"]),
    ("card.first('country', over='1h')", ["'country' is string", "told apart"]),
    ("card.ewma('country', half_life='1h')", ["'country' is string"]),
    ("card.mean('entry_mode', over='1h')", ["mean of an enum's index", "column('entry_mode')"]),
    ("card.max('other_mode', over='1h')", ["max of an enum's index"]),
    ("card.sum('event_time', over='1h')", ["times are beyond", "write min, max, first or last"]),
    ("card.var('local_at', over='1h')", ["times are beyond"]),
    ("card.count('tags', over='1h')", ["'tags' is array", "only int, long, float"]),
    ("card.since_last(over='1h')", ["'over'; it has no window", "write since_last()"]),
    ("card.since_last(where=amount > 1)", ["'where'; it has no window and takes all events"]),
    ("card.since_last(foo=1)", ["no argument 'foo'; it takes none"]),
    ("card.since_last(1)", ["TypeError", "positional"]),
    ("card.mean(over='1h')", ["TypeError", "'column'"]),
    ("card.count(over='1h', closed='lft')", ["closed='lft'", "did you mean 'left'?"]),
    ("card.count(over='1h', closed=True)", ["closed=True is none of the ends", "right, left"]),
    ("card.count(over='1h', include_self=1)", ["include_self is 1", "True or False"]),
    ("card.count(over='1h', where=amount)", ["where=amount_cents is no condition", "> 100"]),
    ("card.count(over='1h', where=payments.column('amount') > 5)", ["names 'amount'", "'amount_c"]),
    ("card.count(over='1h', where=priced.column('tip_cents') > 5)", ["of stream 'priced'"]),
    ("card.count(over='1h', resolution='2h')", ["resolution '2h' is longer than over 1h"]),
    ("card.count(over=['1d', '1m'], resolution='1h')", ["resolution '1h' is longer than over 1m"]),
    ("card.count(over='1h', resolution=60)", ["resolution is 60", "'1m'"]),
    ("card.count(resolution='1h')", ["resolution= is for a window's old end", "leave it out"]),
    ("card.count(over='1h', empty='0')", ["empty is '0'", "float('nan')"]),
    ("card.count(over='1h', empty=float('inf'))", ["empty is inf"]),
    ("card.count(over='1h', empty=True)", ["empty is True"]),
    ("card.count(ovre='1h')", ["no argument 'ovre'", "'over'?"]),
    ("card.count(over='1h', ddof=1)", ["no argument 'ddof'"]),
    ("card.var('amount_cents', over='1h', ddof=-1)", ["ddof is -1", "of a sample"]),
    ("card.std('amount_cents', over='1h', ddof=0.5)", ["ddof is 0.5"]),
    ("card.std('amount_cents', over='1h', ddof=2**22 + 1)", ["ddof is 4194305"]),
    ("card.rate()", ["all of history has no width", "over='1d'"]),
    ("card.rate(over=['1h', None])", ["all of history has no width"]),
    ("card.rate('amount_cents', over='1h')", ["TypeError", "positional"]),
    ("card.decayed_sum('amount_cents')", ["TypeError", "'half_life'"]),
    ("card.decayed_sum('amount_cents', half_life='0s')", ["half_life: '0s' is empty"]),
    ("card.decayed_count(half_life=None)", ["half_life is None"]),
    ("card.decayed_count(half_life=[])", ['half_life=[] has no window; write half_life="1h"']),
    ("card.ewma('amount_cents', half_life='1h', over='1h')", ["'over'; it has no window", "half_"]),
    ("card.ewma('amount_cents', half_life='1h', halflife=1)", ["'half_life'?"]),
    ("card.median('amount_cents')", ["no statistic 'median'; did you mean 'mean'?"]),
    ("card.quantile('amount_cents')", ["no statistic 'quantile'", "count, sum, mean, min, max"]),
    ("amount.named('a b')", ["named('a b'): 'a b' is no name", "'a_b'"]),
    ("amount.named(3)", ["3 is no name"]),
    ("amount.named('a' * 201)", ["201 characters", "at most 200"]),
    ("amount.named('é')", ["'é' is no name", "'_'"]),
    ("card.count(over=['1h', '1d']).named('n')", ["named takes one feature", "a group of 2"]),
    ("amount / card.count(over=['1h', '1d'])", ["'/' takes one feature", "customer_id_count_1d"]),
    ("1 + card.count(over=['1h', '1d'])", ["'+' takes one feature"]),
    ("amount * True", ["'*' with True", "features and numbers"]),
    ("amount - 'x'", ["'-' with 'x'"]),
    ("amount - card", ["'-' with payments.by('customer_id'); write arithmetic between"]),
    ("amount + float('inf')", ["'+' with inf", "finite"]),
    ("amount + (2**53 + 1)", ["9007199254740993 is beyond 2^53"]),
    ("sum([amount] * 258)", ["257 operations", "at most 256"]),
    ("-amount", ["-(amount_cents)", "-1 * (amount_cents)"]),
    ("card.count(over='1d') > 5", ["customer_id_count_1d is compared", "only a column can be"]),
    ("amount == payments.column('tip_cents')", ["is compared with tip_cents"]),
    ("amount > 5 and amount < 9", ["amount_cents > 5 has no truth value", "& | ~"]),
    ("amount > 2.5", ["'amount_cents' is long", "whole number"]),
    ("amount if amount else 0", ["amount_cents has no truth value", "features=[...]"]),
    ("not (amount / 2)", ["amount_cents / 2 has no truth value"]),
    ("bool(card.count(over=['1h', '1d']))", ["[customer_id_count_1h, customer_id_count_1d]"]),
    ("amount ** 2", ["TypeError", "**"]),
]

PIPELINES = [
    ("features()", ["pipeline 'p': 0 features", "4096"]),
    ("feature(amount / 2)", ["features[0], amount_cents / 2, has no name", ".named('...')"]),
    ("feature(3)", ["features[0]: 3 is no feature", "stream.column('name')"]),
    ("feature('amount_cents')", ["features[0]: 'amount_cents' is no feature"]),
    ("features(amount, card)", ["features[1]", "is an entity", ".count(over='1d')"]),
    ("feature([amount])", ["features[0]", "is no feature"]),
    ("feature(amount > 5)", ["features[0]: amount_cents > 5 is a condition", "where="]),
    ("feature(payments.column('country'))", ["features[0]: column 'country'", "text is no number"]),
    (
        "features(card.count(over='1d'), card.count(over='1d', where=amount > 5))",
        ["two features have the name 'customer_id_count_1d'", "where amount_cents > 5", ".named("],
    ),
    (
        (
            "feature(Stream('s' * 190, available='known_at', **(GIVEN | {'topic': 's'}))"
            ".by('customer_id').count(over='1d'))"
        ),
        ["a name of 211 characters", ".named('...') with at most 200"],
    ),
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
        ["'hour' is a value of one record of stream 'labels'", "'payments' is scored"],
    ),
    (
        "feature((amount / Stream('labels', **GIVEN).hour()).named('x'))",
        ["'x' is a value of one record of stream 'labels'"],
    ),
    (
        "feature(Stream('labels', **GIVEN).by('customer_id').count(over='1d'))",
        ["stream 'labels', which does not say when", "available='record_timestamp'"],
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
    ("Pipeline(name='p', score=payments, features=[amount], preset='x')", ["argument 'preset'"]),
    (
        "Pipeline(name='p', score=payments, features=[amount], semantics='flnk')",
        ["semantics='flnk' is no preset", "did you mean 'flink'?"],
    ),
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
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    stamped = payment_schema.schema(payment_schema.FIELDS | {"record_timestamp": micros})
    (folder / "stamped.avsc").write_text(json.dumps(stamped))
    nanos = {"type": "long", "logicalType": "timestamp-nanos"}
    with_nanos = payment_schema.schema(payment_schema.FIELDS | {"at": nanos})
    (folder / "nanos.avsc").write_text(json.dumps(with_nanos))
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
