"""The page of a campaign and the Snakemake report, as a reader's browser shows them.

A campaign of a few pixels is written for it; the demo's page and report are opened where the demo has been
run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tiny_campaign import SHAPE, inputs, write_campaign, write_parcels

from canopyflow.evaluation.pages.page import write_page

from .conftest import Browser, absent

pytestmark = pytest.mark.browser

TOP = Path(__file__).resolve().parents[2]
WIDTHS = (420, 1400, 1920)
DRAWN = "document.getElementById('map-canvas').dataset.shown !== undefined"
SHOWN = "document.getElementById('map-canvas').dataset.shown"
PIXELS = "document.getElementById('map-canvas').toDataURL()"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = write_campaign(tmp_path_factory.mktemp("tiny"))
    made = inputs(results, parcels=[write_parcels(results)])
    write_page(made, *(results / f"index.{ending}" for ending in ("html", "flags", "csv", "rst")))
    return results / "index.html"


@pytest.fixture(scope="module", params=["tiny", "demo"])
def page(request: pytest.FixtureRequest, tiny: Path) -> Path:
    return tiny if request.param == "tiny" else of_demo("index.html")


def of_demo(name: str) -> Path:
    path = TOP / "results/demo" / name
    if not path.exists():
        absent(f"{path} is not there: make run")
    return path


def value_told(browser: Browser) -> str:
    return browser.run("document.getElementById('map-value').textContent")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_opens_on_every_screen_light_and_dark(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    browser.open(page, width, dark, DRAWN)
    assert browser.errors() == []
    wide, seen = browser.run("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= seen == width
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 80) == dark
    without = browser.run(
        "[...document.querySelectorAll('img, svg, canvas, [role=img]')]"
        ".filter(e => !(e.alt || e.getAttribute('aria-label'))).map(e => e.outerHTML.slice(0, 80))"
    )
    assert without == []
    assert (
        browser.run(
            "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    assert browser.run("document.querySelectorAll('svg text').length") > 10


def test_every_control_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page, ready=DRAWN)
    without = browser.run(
        "[...document.querySelectorAll('select, input, button')].filter(e => !e.labels?.length && "
        "!e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)"
    )
    assert without == []


def test_the_slider_goes_through_the_dates(browser: Browser, page: Path) -> None:
    browser.open(page, ready=DRAWN)
    slider = browser.driver.find_element(By.ID, "map-date")
    slider.send_keys(Keys.HOME)
    browser.wait("document.getElementById('map-date').value === '0'")
    day = browser.run("DATA.maps.tiles[0].dates.map(one => one.date)")
    browser.wait(f"{SHOWN}.includes('{day[0]}')")
    first = browser.run(PIXELS)
    slider.send_keys(Keys.ARROW_RIGHT)
    browser.wait(f"{SHOWN}.includes('{day[1]}')")
    assert browser.run(PIXELS) != first
    browser.driver.find_element(By.ID, "map-back").click()
    browser.wait(f"{SHOWN}.includes('{day[0]}')")
    assert browser.run(PIXELS) == first
    assert browser.run("document.getElementById('map-date').getAttribute('aria-valuetext')") == day[0]
    assert browser.errors() == []


def test_the_switch_shows_mean_width_and_flags_of_each_model(browser: Browser, page: Path) -> None:
    browser.open(page, ready=DRAWN)
    seen = {browser.run(PIXELS)}
    for layer in ("width", "flags"):
        browser.driver.find_element(By.CSS_SELECTOR, f"input[name=layer][value={layer}]").click()
        browser.wait(f"{SHOWN}.endsWith(' {layer}')")
        seen.add(browser.run(PIXELS))
    assert len(seen) == 3
    legend = browser.run("document.getElementById('map-legend').textContent")
    assert "misfit" in legend
    for name, index in (("map-model", 1), ("map-variable", 1)):
        script = (
            f"(() => {{ const s = document.getElementById('{name}'); s.selectedIndex = {index};"
            "s.dispatchEvent(new Event('change')); return s.value; })()"
        )
        chosen = browser.run(script)
        browser.wait(f"{SHOWN}.split(' ').includes('{chosen}')")
    assert browser.errors() == []


def test_the_value_under_the_cursor(browser: Browser, page: Path) -> None:
    browser.open(page, ready=DRAWN)
    canvas = browser.driver.find_element(By.ID, "map-canvas")
    ActionChains(browser.driver).move_to_element_with_offset(canvas, 3, 3).perform()
    browser.wait("document.getElementById('map-value').textContent.includes('EPSG:326')")
    before = value_told(browser)
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert value_told(browser) != before
    assert browser.run("document.getElementById('map-cross').hidden") is False


def test_the_value_is_that_of_the_product(browser: Browser, tiny: Path) -> None:
    """On the first date, row 3 and column 5 hold 1 + 0.3 + 0.05, with an interval of 1.6."""
    browser.open(tiny, ready=DRAWN)
    canvas = browser.driver.find_element(By.ID, "map-canvas")
    row, column = 3, 5
    for _ in range(SHAPE[1]):
        canvas.send_keys(Keys.ARROW_LEFT)
    for _ in range(SHAPE[0]):
        canvas.send_keys(Keys.ARROW_UP)
    canvas.send_keys(*[Keys.ARROW_DOWN] * row, *[Keys.ARROW_RIGHT] * column)
    told = value_told(browser)
    assert "E 500110, N 5199930 (EPSG:32632)" in told
    assert float(re.search(r"LAI mean: ([\d.]+)", told)[1]) == pytest.approx(1.35, abs=0.02)
    assert float(re.search(r"90 % width: ([\d.]+)", told)[1]) == pytest.approx(1.6, abs=0.02)
    assert "no flag" in told
    canvas.send_keys(*[Keys.ARROW_UP] * row, *[Keys.ARROW_RIGHT] * 3)
    assert "flags: misfit" in value_told(browser)


def test_colours_change_by_the_button(browser: Browser, tiny: Path) -> None:
    browser.open(tiny, ready=DRAWN)
    before = browser.run("getComputedStyle(document.body).backgroundColor")
    button = browser.driver.find_element(By.ID, "theme")
    button.send_keys(Keys.ENTER)
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    assert browser.run("getComputedStyle(document.body).backgroundColor") != before
    assert button.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("kind", ["plots", "parcels"])
def test_trajectories_follow_what_is_chosen(browser: Browser, tiny: Path, kind: str) -> None:
    browser.open(tiny, ready=DRAWN)
    label = f"document.querySelector('#{kind}-chart svg').getAttribute('aria-label')"
    first = browser.run(label)
    name = browser.run(f"DATA.{kind}.names[1]")
    script = (
        f"(() => {{ const s = document.getElementById('{kind}-name'); s.value = '{name}';"
        "s.dispatchEvent(new Event('change', {bubbles: true})); return true; })()"
    )
    browser.run(script)
    assert name in browser.run(label) and browser.run(label) != first
    assert browser.run(f"document.querySelectorAll('#{kind}-table tbody tr').length") >= 2
    assert browser.errors() == []


def test_the_report_can_be_read_from_its_top(browser: Browser) -> None:
    """Snakemake centres what it shows, and cuts the top of what is taller than the window."""
    report = of_demo("report.html")
    browser.open(report, ready="document.querySelector('.prose') !== null")
    assert "Take " in browser.run("document.querySelector('.prose').textContent")
    assert browser.run("document.querySelector('.prose').getBoundingClientRect().top") >= 0
    assert browser.run("document.querySelector('.prose table') !== null")
    names = browser.run(
        "[...document.querySelectorAll('nav a')].map(e => e.textContent).filter(t => /^\\d/.test(t))"
    )
    assert [name[2:] for name in names] == [
        "Verdict", "Comparison", "Maps", "Field plots", "Calibration", "Posteriors", "Training", "Scenes",
    ]  # fmt: skip
    for category in ("Maps", "Calibration"):
        pictures = open_pictures(browser, report, category)
        assert pictures
        for top, height, bottom in pictures:
            assert top >= 0 and height <= 800, (category, top, height)
            assert bottom > 0
    assert browser.errors() == []


def open_pictures(browser: Browser, report: Path, category: str) -> list[tuple[float, float, float]]:
    """Top, natural height and bottom of the first two pictures of a category, each as it is opened."""
    out = []
    for number in range(2):
        # Lower than most pictures are tall.
        browser.open(report, ready="document.querySelector('.prose') !== null", height=450)
        click = (
            "[...document.querySelectorAll('nav a')].find(e => e.textContent.endsWith(arguments[0])).click()"
        )
        browser.run(f"({click}, true)", category)
        eyes = "[...document.querySelectorAll('nav a.inline-block')].filter(e => e.querySelector('svg'))"
        browser.wait(f"{eyes}.length > 1")
        browser.run(f"({eyes}[{2 * number}].click(), true)")
        browser.wait("document.querySelector('div.p-3 > img')?.naturalHeight > 0")
        out.append(
            browser.run(
                "(e => [e.getBoundingClientRect().top, e.naturalHeight, e.getBoundingClientRect().bottom])"
                "(document.querySelector('div.p-3 > img'))"
            )
        )
    return [tuple(each) for each in out]
