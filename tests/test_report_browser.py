"""The report's page in a real browser: three widths, two themes, keyboard, switches, sorting; silent, loads nothing."""

from __future__ import annotations

import shutil

import pytest
from test_report import rising, write_run

from search.reports.writing import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
WIDTHS, THEMES = (400, 900, 1600), ("light", "dark")
SMALLEST = 11  # pixels of the smallest text at any width


@pytest.fixture(name="page_url", scope="module")
def _page_url(tmp_path_factory) -> str:
    """A report with controls, runs of unequal length, a stopped seed, failures, a second metric and two tasks."""
    root = tmp_path_factory.mktemp("page")
    metrics = {"metrics": lambda i: {"latency_ms": float((37 * i) % 100)}}
    run = write_run(root / "ours", [[*r[:20], 9.0, *r[21:]] for r in rising(3, 40)], optimum=9.0, extra=metrics)
    write_run(run / "controls" / "random", rising(3, 40), optimum=9.0)
    short = [[*rising(1, 30)[0]], [None, 1.0, None, 2.0], [*rising(1, 30)[0]]]
    write_run(root / "a_short_run_with_a_rather_long_name", short, optimum=9.0, budget=30)
    write_run(root / "other", rising(2), "minimize", task="another_task_with_a_long_name")
    return write_report([root], root / "report")[0].as_uri()


@pytest.fixture(name="browser", scope="module")
def _browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="page")
def _page(browser, page_url):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(page_url)
    yield page
    page.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_is_silent(browser, page_url, tmp_path, width, theme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    logged, asked = [], []
    page.on("console", lambda m: logged.append(m.text))
    page.on("pageerror", lambda e: logged.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(page_url)
    assert logged == [] and asked == [page_url]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing makes the page scroll sideways"
    sizes = "[...document.querySelectorAll('main *')].filter(e => e.childNodes.length && e.offsetParent)"
    smallest = page.evaluate(f"Math.min(...{sizes}.map(e => parseFloat(getComputedStyle(e).fontSize)))")
    assert smallest >= SMALLEST
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(n) for n in paper.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert level > 200 if theme == "light" else level < 60
    answer = page.locator(".answer .big").first
    assert answer.bounding_box()["y"] < 700, "the answer is on the first screen"
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 20_000
    context.close()


def test_arrow_keys_read_the_curves(page):
    plot = page.locator("#s0-values .area")
    before = plot.get_attribute("aria-valuetext")
    assert before.startswith("after 40 evaluations, ours: 9.00"), "a screen reader hears the end first"
    plot.focus()
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuenow") == "1"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    said = plot.get_attribute("aria-valuetext")
    assert said.startswith("after 5 evaluations") and "(2 of 3 seeds)" in said, "a seed that stopped is not in the mean"
    assert page.locator("#s0-values .tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#s0-values .tip").is_visible()
    page.keyboard.press("End")
    assert "a_short_run" not in plot.get_attribute("aria-valuetext"), "it made 30 evaluations, not 40"


def test_the_pointer_reads_the_curves_and_the_front(page):
    for name, expected in (("s0-regret", "ours: 0"), ("s0-front0", "latency_ms")):
        box = page.locator(f"#{name} .area")
        box.scroll_into_view_if_needed()
        box.hover(position={"x": box.bounding_box()["width"] - 3, "y": 40})
        assert expected in page.locator(f"#{name} .tip").inner_text()


def test_runs_are_switched_off_in_every_plot(page):
    lines = page.locator('#s0 g[data-run="0"]')
    assert lines.count() == 2 and all(line.is_visible() for line in lines.all())
    switch = page.locator('#s0 .legend input[data-run="0"]')
    switch.focus()
    page.keyboard.press("Space")
    assert not any(line.is_visible() for line in lines.all())
    switch.check()
    assert all(line.is_visible() for line in lines.all())


def test_tables_are_sorted_by_their_heads(page):
    table = page.locator("#s0 table.sortable").first
    column = table.locator("thead th").filter(has_text="@25")
    index = column.evaluate("e => e.cellIndex")
    for direction in ("ascending", "descending"):
        column.locator("button").focus()
        page.keyboard.press("Enter")
        assert column.get_attribute("aria-sort") == direction
        cells = table.evaluate(f"t => [...t.tBodies[0].rows].map(r => r.cells[{index}].textContent)")
        values = [float(c.split()[0]) for c in cells if c != "–"]
        assert values == sorted(values, reverse=direction == "descending") and len(values) > 1


def test_commands_are_copied_as_one_line(page):
    (block,) = page.locator("#s0 > .command").all()
    assert block.locator("pre").evaluate("e => e.textContent").startswith("python -m search.run --resume --out /")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block.locator("button").click()
    block.locator("button", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("pre").evaluate("e => e.textContent")


def test_everything_is_there_without_a_script(browser, page_url):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_url)
    assert "Best 9.00, the optimum, after 21 evaluations" in page.locator(".answer").first.inner_text()
    assert page.locator("#s0 svg .line").count() >= 6 and page.locator("#s0 table tbody tr").count() > 3
    context.close()
