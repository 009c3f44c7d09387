"""The page's one script: made of its modules, by the few forms of import and export that they use."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

import ipyreconnect.jupyter.panel
from ipyreconnect.jupyter.panel.page import bundle, script, style


def bundled(folder: Path, **modules: str) -> str:
    for name, text in modules.items():
        (folder / f"{name}.mjs").write_text(text, encoding="utf-8")
    return bundle(folder, "entry.mjs")


def test_an_entry_that_imports_nothing_stays_as_it_is(tmp_path: Path) -> None:
    """What anywidget loads is the module that was written."""
    text = "export default {\n  render() {},\n};\n"
    assert bundled(tmp_path, entry=text) == f"// entry.mjs\n{text}"


def test_a_module_becomes_a_function_that_runs_once(tmp_path: Path) -> None:
    """Names of a module stay its own, and those that it exports reach who imports them."""
    made = bundled(
        tmp_path,
        tool="const hidden = 1;\nexport const shown = hidden;\n",
        entry='import { shown } from "./tool.mjs";\nexport default { shown };\n',
    )
    assert made == (
        "// tool.mjs\n"
        "const $tool = (() => {\n"
        "const hidden = 1;\nconst shown = hidden;\n\n"
        "return { shown };\n})();\n"
        "// entry.mjs\n"
        "const { shown } = $tool;\nexport default { shown };\n"
    )


def test_everything_that_can_be_exported(tmp_path: Path) -> None:
    """Constants, functions of all kinds and classes can be exported."""
    made = bundled(
        tmp_path,
        tool="export const a = 1;\nexport function b() {}\nexport async function c() {}\n"
        "export function* d() {}\nexport class E {}\n",
        entry='import {\n  a,\n  b,\n  c,\n  d,\n  E,\n} from "./tool.mjs";\n',
    )
    assert "return { a, b, c, d, E };" in made
    assert "const { a, b, c, d, E } = $tool;" in made


def test_a_module_that_several_need_is_there_once_and_before_them(tmp_path: Path) -> None:
    """Modules stand in an order in which each finds what it needs."""
    made = bundled(
        tmp_path,
        base="export const x = [];\n",
        one='import { x } from "./base.mjs";\nexport const y = x;\n',
        two='import { x } from "./base.mjs";\nimport { y } from "./one.mjs";\nexport const z = [x, y];\n',
        entry='import { y } from "./one.mjs";\nimport { z } from "./two.mjs";\nexport default { y, z };\n',
    )
    assert re.findall(r"^// (\w+)\.mjs$", made, re.MULTILINE) == ["base", "one", "two", "entry"]


def test_lines_are_kept(tmp_path: Path) -> None:
    """An error's line in the browser is found in the module by counting from its beginning."""
    text = 'import {\n  a,\n  b,\n} from "./tool.mjs";\nexport default { a, b };\n'
    made = bundled(tmp_path, tool="export const a = 1;\nexport const b = 2;\n", entry=text)
    assert len(made.split("// entry.mjs\n")[1].splitlines()) == len(text.splitlines())


def test_types_in_comments_are_no_imports(tmp_path: Path) -> None:
    """What only the type checker needs is not loaded."""
    text = (
        '/** @import { Line } from "./pages.mjs" */\n'
        '/**\n * @import { X } from "./x.mjs"\n */\n'
        "export default {};\n"
    )
    assert bundled(tmp_path, entry=text).endswith(text)


@pytest.mark.parametrize(
    "statement",
    [
        'import "./tool.mjs";',
        'import tool from "./tool.mjs";',
        'import * as tool from "./tool.mjs";',
        'import { shown as other } from "./tool.mjs";',
        'import { shown } from "tool";',
        'import { shown } from "../tool.mjs";',
        "import { shown } from './tool.mjs';",
        'const tool = await import("./tool.mjs");',
        "const here = import.meta.url;",
        "export let changing = 1;",
        "export { shown };",
        'export * from "./tool.mjs";',
        "export default class {}",
    ],
)
def test_other_forms_are_refused(tmp_path: Path, statement: str) -> None:
    """What would come out wrong is an error that shows the statement."""
    with pytest.raises(ValueError, match=r"entry\.mjs: cannot be bundled: ") as caught:
        bundled(tmp_path, tool="export const shown = 1;\n", entry=f"{statement}\n")
    assert statement.endswith(str(caught.value).partition("bundled: ")[2])


def test_only_the_entry_has_a_default(tmp_path: Path) -> None:
    """A module's default export would be nobody's."""
    with pytest.raises(ValueError, match=r"tool\.mjs: cannot be bundled: export default"):
        bundled(
            tmp_path,
            tool="export const a = 1;\nexport default {};\n",
            entry='import { a } from "./tool.mjs";\nexport default { a };\n',
        )


def test_a_name_that_is_not_exported_is_an_error(tmp_path: Path) -> None:
    """It would be undefined in the browser, and fail there much later."""
    with pytest.raises(ValueError, match=r"entry\.mjs imports gone, which tool\.mjs does not export"):
        bundled(
            tmp_path,
            tool="export const a = 1;\n",
            entry='import { a, gone } from "./tool.mjs";\nexport default {};\n',
        )


def test_modules_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """No order would do for them."""
    with pytest.raises(ValueError, match=r"two\.mjs and one\.mjs import each other"):
        bundled(
            tmp_path,
            one='import { b } from "./two.mjs";\nexport const a = b;\n',
            two='import { a } from "./one.mjs";\nexport const b = a;\n',
            entry='import { a } from "./one.mjs";\nexport default { a };\n',
        )


def test_all_modules_of_the_page_are_in_one_of_its_scripts() -> None:
    """No module is left behind, and both widgets have all that they need."""
    folder = files(ipyreconnect.jupyter.panel) / "web"
    modules = {file.name for file in folder.iterdir() if file.name.endswith(".mjs")}
    scripts = [script("log"), script("controls")]
    found = [set(re.findall(r"^// (\w+\.mjs)$", text, re.MULTILINE)) for text in scripts]
    assert found[0] | found[1] == modules
    assert {"log.mjs", "link.mjs", "dom.mjs"} <= found[0]
    assert all(text.count("\nexport ") == 1 for text in scripts)
    assert all(re.search(r"^import ", text, re.MULTILINE) is None for text in scripts)


def test_style_sheets_come_one_after_the_other() -> None:
    """The theme's variables are there before the widgets' own rules."""
    assert style("theme", "log").startswith(style("theme"))
    assert style("theme", "log").endswith(style("log"))
