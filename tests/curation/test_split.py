"""Splits: shares are kept, units stay whole, and what is added later moves no old file."""

import dataclasses

import pytest

import preprocess_data
from codefit.curation.split import Splitting, assign, assign_by_time, boundaries, position, unit_of
from codefit.curation.summary import too_small
from codefit.dates import moment
from codefit.errors import UserError
from codefit.records import write_jsonl
from tests.support.corpus import documents, kotlin_file, manifest_of, pairs_of, rejections


def by_hash(test_share, validation_share, seed=0):
    return Splitting("file", test_share, validation_share, seed)


@pytest.mark.parametrize(
    ("split_by", "expected"), [("repository", "o/r"), ("directory", "o/r/a/b"), ("file", "o/r/a/b/c.kt")]
)
def test_units(split_by, expected):
    assert unit_of("o/r", "a/b/c.kt", split_by) == expected


def test_shares_are_kept_and_old_files_never_move():
    old = [f"one/{n}" for n in range(4000)]
    splits = assign(old, by_hash(0.05, 0.1))
    assert splits.count("test") == pytest.approx(200, abs=45)
    assert splits.count("validation") == pytest.approx(400, abs=60)
    both = assign([f"two/{n}" for n in range(4000)] + old, by_hash(0.05, 0.1))
    assert both[4000:] == splits
    assert assign(old, by_hash(0.05, 0.1, 1)) != splits
    assert 0 <= position("x", 0) < 1
    assert position("x", 0) != position("x", 1)


def test_a_unit_is_never_divided():
    units = [f"u{n % 50}" for n in range(1000)]
    by_unit = {}
    for unit, split in zip(units, assign(units, by_hash(0.2, 0.2)), strict=True):
        assert by_unit.setdefault(unit, split) == split


@pytest.mark.parametrize("count", [3, 4, 10, 30])
@pytest.mark.parametrize("shares", [(0.01, 0.01), (0.4, 0.4)])
def test_small_projects_have_all_three_splits(count, shares):
    for seed in range(20):
        assert set(assign([f"f{n}" for n in range(count)], by_hash(*shares, seed))) == {"train", "validation", "test"}


@pytest.mark.parametrize(("count", "test", "validation"), [(74, 7, 4), (9, 1, 1), (199, 20, 10)])
def test_small_projects_have_the_nearest_shares(count, test, validation):
    units = [f"f{n}" for n in range(count)]
    for seed in range(5):
        splits = assign(units, by_hash(0.1, 0.05, seed))
        assert (splits.count("test"), splits.count("validation")) == (test, validation)
        assert splits == assign([*units], by_hash(0.1, 0.05, seed))
        ranked = sorted(zip((position(unit, seed) for unit in units), splits, strict=True))
        assert {split for _, split in ranked[:test]} == {"test"}


def test_a_tiny_share_of_many_units_is_not_empty():
    splits = assign([f"f{n}" for n in range(300)], by_hash(0.0001, 0.3))
    assert splits.count("test") == 1


@pytest.mark.parametrize(("files", "pairs", "warned"), [(9, 100, True), (10, 99, True), (10, 100, False)])
def test_a_small_test_split_is_a_warning(files, pairs, warned):
    test = {"documents": files + 1, "documents_without_pair": 1, "pairs": pairs}
    expected = [
        f"warning: the test split has {files} files with {pairs} pairs, too few to measure small differences; "
        "raise --test_share, or give more files"
    ]
    assert list(too_small(test)) == expected * warned
    assert list(too_small({"documents": 0, "documents_without_pair": 0, "pairs": 0})) == []


def test_a_share_of_zero_gives_no_units():
    assert set(assign([f"f{n}" for n in range(100)], by_hash(0, 0))) == {"train"}


def test_two_units_are_refused():
    with pytest.raises(UserError, match=r"2 units cannot make three splits; give more files, or a smaller unit"):
        assign(["a", "a", "b"], by_hash(0.1, 0.1))


# --------------------------------------------------------------------------------------------- by time

DAYS = [f"2020-01-{day:02}" for day in range(1, 31)]
BY_TIME = Splitting("time", 0.1, 0.1)


@pytest.mark.parametrize(
    ("date", "same"),
    [
        ("2020-01-31", "2020-01-31T00:00:00+00:00"),
        ("2020-01-31T02:00:00+02:00", "2020-01-31T00:00:00Z"),
        ("2020-01-31T12:00:00", "2020-01-31T12:00:00Z"),
    ],
)
def test_dates_are_parsed_with_their_zone(date, same):
    assert moment(date) == moment(same)
    assert moment("") is moment("yesterday") is None


def test_the_newest_commits_are_test():
    since = boundaries(DAYS, BY_TIME)
    assert since == {"validation_since": "2020-01-25T00:00:00+00:00", "test_since": "2020-01-28T00:00:00+00:00"}
    assert assign_by_time(DAYS, since) == ["train"] * 24 + ["validation"] * 3 + ["test"] * 3
    many_on_the_last_day = boundaries(DAYS[:3] + DAYS[2:3] * 50, BY_TIME)
    assert many_on_the_last_day == {
        "validation_since": "2020-01-02T00:00:00+00:00",
        "test_since": "2020-01-03T00:00:00+00:00",
    }
    given = dataclasses.replace(BY_TIME, validation_since="2019-01-01", test_since="2020-01-30T12:00:00+12:00")
    found = assign_by_time(["2018-12-31", "2020-01-29T23:00:00Z", "2020-01-30"], boundaries([], given))
    assert found == ["train", "validation", "test"]


def test_too_few_dates_are_one_sentence():
    with pytest.raises(UserError, match=r"2 commit dates cannot make three splits; give repositories"):
        boundaries(DAYS[:2] * 9, BY_TIME)
    since = {"validation_since": "2021-01-01", "test_since": "2021-02-01"}
    with pytest.raises(UserError, match=r"the validation split has no file \(the commits are from 2020-01-01 to"):
        assign_by_time(DAYS, since)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test_since", "2020-01-01"], "--validation_since and --test_since need --split_by time"),
        (["--split_by", "time", "--test_since", "2020-01-01"], "--validation_since and --test_since need each other"),
        (["--split_by", "time", "--test_since", "2020-01-01", "--validation_since", "2020-01-02"], "must not be later"),
        (["--split_by", "time", "--test_since", "soon"], "'soon' is not a date such as 2020-01-31"),
    ],
)
def test_contradicting_dates_exit_with_2(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        preprocess_data.main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def dated(first, count, repository, days=DAYS):
    return [
        dataclasses.replace(d, content=kotlin_file(first + n), committed_at=days[n % len(days)], repository=repository)
        for n, d in enumerate(documents(count))
    ]


def test_the_stage_splits_by_time_and_later_data_move_nothing(prepare, tmp_path, capsys):
    undated = dataclasses.replace(documents(1)[0], content=kotlin_file(999), path="undated.kt")
    write_jsonl(tmp_path / "old.jsonl", [*dated(0, 60, "me/one"), undated])
    output = prepare(tmp_path / "old.jsonl", "--split_by", "time", "--test_share", 0.1)
    found = manifest_of(output)["boundaries"]
    assert found["test_since"] == "2020-01-28T00:00:00+00:00"
    flags = f"--validation_since {found['validation_since']} --test_since {found['test_since']}"
    assert f"to split later data at the same dates, add {flags}" in " ".join(capsys.readouterr().out.split())
    assert [row["path"] for row in rejections(output) if row["rule"] == "no commit date"] == ["undated.kt"]
    write_jsonl(tmp_path / "new.jsonl", dated(1000, 30, "me/two", ["2021-05-05"]))
    both = prepare(
        [tmp_path / "old.jsonl", tmp_path / "new.jsonl"], "--split_by", "time", *flags.split(), output="both"
    )
    splits = [
        {p.id: s for s, ps in pairs_of(o).items() for p in ps if p.repository == "me/one"} for o in (output, both)
    ]
    assert splits[0] == splits[1]
    assert {s for s, ps in pairs_of(both).items() for p in ps if p.repository == "me/two"} == {"test"}
    prepare(tmp_path / "old.jsonl", "--verify")


@pytest.mark.parametrize(("shares", "count"), [((0, 0), 1), ((0, 0.2), 2), ((0.2, 0), 2), ((0.2, 0.2), 3)])
def test_there_must_be_a_unit_for_every_requested_split(shares, count):
    splits = assign([f"u{n}" for n in range(count)], Splitting("file", *shares))
    assert len(set(splits)) == count
    with pytest.raises(UserError, match=rf"{count - 1} units? cannot make"):
        assign([f"u{n}" for n in range(count - 1)], Splitting("file", *shares))


# --------------------------------------------------------------------------------------------- by repository


def test_documents_without_a_repository_cannot_be_split_by_it(prepare, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [dataclasses.replace(d, repository="") for d in documents(9)])
    with pytest.raises(UserError, match="no document names its repository, so --split_by repository cannot divide"):
        prepare(tmp_path / "in.jsonl", "--split_by", "repository")


def test_a_document_without_a_repository_is_rejected_where_the_others_name_one(prepare, tmp_path):
    named = [dataclasses.replace(d, repository=f"me/{n}") for n, d in enumerate(documents(9))]
    nameless = dataclasses.replace(named[0], content=kotlin_file(999), path="nameless.kt", repository="")
    write_jsonl(tmp_path / "in.jsonl", [*named, nameless])
    output = prepare(tmp_path / "in.jsonl", "--split_by", "repository")
    assert [row["path"] for row in rejections(output) if row["rule"] == "no repository"] == ["nameless.kt"]
