// The two widgets, as the modules that they are.

import assert from "node:assert/strict";
import test from "node:test";

for (const entry of ["log", "controls"]) {
  test(`${entry} can be loaded where there is no page, and renders`, async () => {
    const { default: widget } = await import(`../../ipyreconnect/jupyter/panel/web/${entry}.mjs`);
    assert.equal(typeof widget.render, "function");
  });
}
