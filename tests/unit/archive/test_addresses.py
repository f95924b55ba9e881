"""No key that stands in an address is kept, whatever it is called."""

from pathlib import Path

import pytest

from canopyflow.archive.addresses import cleaned, query_names, without_secrets
from canopyflow.archive.answers import shown
from canopyflow.archive.items import Unusable, pin_href

SECRET = "S3CR3T"
QUERIES = [
    "api_key", "apikey", "API-Key", "key", "token", "access_token", "sig", "Signature", "X-Amz-Signature",
    "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "X-Goog-Credential", "AWSAccessKeyId",
    "GoogleAccessId", "Expires", "se", "sv", "Policy", "Key-Pair-Id", "subscription-key", "hmac", "v",
]  # fmt: skip
ADDRESSES = [
    *(f"https://tiles.example.org/B04.tif?{name}={SECRET}" for name in QUERIES),
    f"https://tiles.example.org/B04.tif?plain=1&key={SECRET}",
    f"https://tiles.example.org/B04.tif?{SECRET}",
    f"https://user:{SECRET}@tiles.example.org/B04.tif",
    f"https://{SECRET}@tiles.example.org/B04.tif",
    f"https://tiles.example.org/B04.tif#{SECRET}",
    f"https://tiles.example.org/B04.tif;token={SECRET}",
    f"HTTPS://user:{SECRET}@tiles.example.org/B04.tif?sig={SECRET}#{SECRET}",
    f"  https://tiles.example.org/B04.tif?sig={SECRET}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_key_is_pinned_or_told(address: str) -> None:
    assert pin_href(address, None, None) == "https://tiles.example.org/B04.tif"
    assert shown(address) == "https://tiles.example.org/B04.tif"
    plain = address.replace(address.strip(), "https://tiles.example.org/B04.tif")
    assert cleaned({"a": [address, f"see {address} for it"]}) == {"a": [plain, f"see {plain} for it"]}


@pytest.mark.parametrize("mark", list("'\"<>\\^`{|}"))
def test_no_character_ends_an_address_before_its_key(mark: str) -> None:
    assert cleaned(f"see https://h/x?k={mark}{SECRET}{mark} for it") == "see https://h/x for it"
    assert SECRET not in cleaned(
        f"https://h/x{mark}https://user:{SECRET}@h/y{mark}?u=https://h/z&sig={SECRET}"
    )


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://host:8080/a/b.tif", "http://host:8080/a/b.tif"),
        ("https://[::1]:80/a.tif?x=1", "https://[::1]:80/a.tif"),
        (
            "https://h/odata/v1/Products(1-2)/Nodes(a.jp2)/$value",
            "https://h/odata/v1/Products(1-2)/Nodes(a.jp2)/$value",
        ),
        ("https://h/a%20b.tif?x=1", "https://h/a%20b.tif"),
        ("https://h:port/a.tif?key=1", "an address that cannot be read"),
        ("folder/a.tif", "folder/a.tif"),
    ],
)
def test_what_names_the_file_stays(address: str, kept: str) -> None:
    assert without_secrets(address) == kept


@pytest.mark.parametrize(
    "href",
    [
        f"s3://{SECRET}:{SECRET}@bucket/B04.tif?X-Amz-Signature={SECRET}",
        f"ftp://user:{SECRET}@host/B04.tif",
        f"gs://bucket/B04.tif?key={SECRET}",
        f"//user:{SECRET}@host/B04.tif?key={SECRET}",
        f"user:{SECRET}@host/B04.tif?url=https://host",
        f"data:image/tiff;base64,{SECRET}",
        f"https://user:{SECRET}@[broken/B04.tif",
        f"https:///B04.tif?key={SECRET}",
        f"../B04.tif?key={SECRET}",
    ],
)
def test_a_refusal_does_not_tell_the_key_either(href: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable) as caught:
        pin_href(href, tmp_path, tmp_path)
    assert SECRET not in str(caught.value)


def test_a_local_file_is_named_without_the_query_that_follows_it(tmp_path: Path) -> None:
    assert pin_href(f"./B04.tif?api_key={SECRET}", tmp_path / "item", tmp_path) == "item/B04.tif"
    assert pin_href(f"file://{tmp_path}/B04.tif?key={SECRET}", tmp_path, tmp_path) == "B04.tif"
    assert pin_href(f"./B04.tif#sig={SECRET}", tmp_path / "item", tmp_path) == "item/B04.tif"


def test_names_of_what_is_cut() -> None:
    assert query_names(f"https://h/a?api_key={SECRET}&sig=") == {"api_key", "sig"}
    assert query_names("https://h/a") == set()
