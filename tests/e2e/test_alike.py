"""``oddwatch search --like-entry`` over indexed footage."""

from __future__ import annotations


def _person(cli, gallery, name):
    rows = cli("gallery", "list", "--gallery", gallery, "--json").json["entries"]
    return next(r["id"] for r in rows if r["kind"] == "person" and r["source"].endswith(name))


def test_an_entry_finds_those_who_look_like_it(cli, gallery):
    start = _person(cli, gallery, "normal.jpg")
    found = cli("search", "--like-entry", start, "--gallery", gallery, "--json", "--top", 99).json
    assert found["like"] == {"entry": start, "across": "all", "meaning": "similarity of looks, not identity"}
    assert found["answer"] == "similar" and found["hits"]
    assert start not in {hit["id"] for hit in found["hits"]}
    assert {hit["kind"] for hit in found["hits"]} == {"person"}
    for hit in found["hits"]:
        assert set(hit["stages"]) == {"like", "looks", "alike"}
        assert not hit["match"] and hit["probability"] is None
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_other_sources_and_cameras(cli, gallery, tmp_path):
    start = _person(cli, gallery, "street.webm")
    what = ("search", "--like-entry", start, "--gallery", gallery)
    found = cli(*what, "--across", "sources", "--json", "--clips", tmp_path).json["hits"]
    assert {hit["source"].rpartition("/")[2] for hit in found} == {"normal.jpg", "anomaly.jpg"}
    assert len(list(tmp_path.iterdir())) == len(found)
    # All of this footage is of one camera.
    nobody = cli(*what, "--across", "cameras")
    assert nobody.status == 0 and nobody.out.startswith("nobody else to compare with")
    cli(*what, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "not identity" in page and "Nobody matches" not in page
