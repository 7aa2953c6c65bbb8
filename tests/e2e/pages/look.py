"""What every page must be: accessible in both schemes, nothing sticking out at three widths.

`SHOTS=folder ./dev test tests/e2e/pages` also writes a picture of each page that is looked at here, at each width and
in each scheme, for people to leaf through.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = next((Path(__file__).parents[1] / "vendor").glob("axe-*.min.js"))
WIDTHS = (320, 768, 1440)
HEIGHT = 900
LEGIBLE_PIXELS = 11
#: What of accessibility hangs on colours, and so on the scheme.
COLOURS = ("color-contrast", "link-in-text-block")


def assert_looks_right(page: Page) -> None:
    """Look at an open page at all widths, light, and at its colours, dark. It is left in its widest form, light."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        assert overflow(page) == [], f"{page.url} at {width}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url} at {width}"
        # What is between the narrowest and the widest has no form of its own but for its columns.
        _shoot(page, width, "light")
        assert width not in {WIDTHS[0], WIDTHS[-1]} or violations(page) == []
        page.emulate_media(color_scheme="dark")
        _shoot(page, width, "dark")
        # Colours are the same at all widths.
        assert width != WIDTHS[-1] or violations(page, COLOURS) == []
        page.emulate_media(color_scheme="light")


def _shoot(page: Page, width: int, scheme: str) -> None:
    """Write the page's picture where pictures are wanted, named by the test, the page's title, and how many it is."""
    if folder := os.environ.get("SHOTS"):
        test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].partition(" ")[0]
        name = re.sub("[^a-z0-9]+", "-", f"{test}-{page.title()}".lower()).strip("-")
        number = sum(1 for _ in Path(folder).glob(f"{name}-*-{width}-{scheme}.png")) + 1
        page.screenshot(path=Path(folder) / f"{name}-{number}-{width}-{scheme}.png", full_page=True)


def broken_rules(page: Page, where: str = "document", rules: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the rules, of all or of `rules`, that `where` breaks; what it keeps stays in the browser: it is long."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    only = f", runOnly: {json.dumps(list(rules))}" if rules else ""
    run = f"axe.run({where}, {{ resultTypes: ['violations']{only} }}).then((found) => found.violations)"
    return list(page.evaluate(run))


def violations(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """Return what is inaccessible, by element."""
    return [
        f"{page.url} {rule['id']}: {node['html'][:120]}"
        for rule in broken_rules(page, rules=rules)
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> list[str]:
    """Return what sticks out of the page to the right; what scrolls inside its own box may."""
    return list(
        page.evaluate("""() => [...document.querySelectorAll("body *")]
            .filter((e) => !e.closest("pre, .visually-hidden") && !e.matches(".visually-hidden, .skip"))
            .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map((e) => e.outerHTML.slice(0, 120))""")
    )
