// Keyboard shortcuts of the log.

/** @import { Viewport } from "./viewport.mjs" */

/**
 * @typedef {object} Actions
 * @property {() => void} openSearch
 * @property {(direction: 1 | -1) => void} step
 * @property {() => void} toggleWrap
 * @property {() => void} nextTimes
 */

/**
 * Bind the keys that scroll the log, and those that do what its buttons do.
 *
 * @param {Viewport} viewport
 * @param {Actions} actions
 */
export function bindKeys(viewport, actions) {
  viewport.scroller.addEventListener("keydown", (event) => {
    const act = actionOf(event, viewport, actions);
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
}

/** @typedef {Record<string, () => unknown>} Keymap */

/**
 * @param {KeyboardEvent} event
 * @param {Viewport} viewport
 * @param {Actions} actions
 */
function actionOf(event, viewport, actions) {
  const { key, altKey, target } = event;
  if ((event.ctrlKey || event.metaKey) && !altKey) {
    // Select all lines, and not the whole page with its menus.
    return /** @type {Keymap} */ ({ a: () => viewport.selectAll(), f: actions.openSearch })[key];
  }
  // In a row, the blank presses its button.
  if (altKey || (key === " " && target !== viewport.scroller)) return undefined;
  const { height, line } = viewport.position;
  const page = Math.max(line, height - 2 * line);
  return /** @type {Keymap} */ ({
    ArrowUp: () => viewport.move(-line),
    ArrowDown: () => viewport.move(line),
    PageUp: () => viewport.move(-page),
    PageDown: () => viewport.move(page),
    " ": () => viewport.move(event.shiftKey ? -page : page),
    Home: () => viewport.go(viewport.space.first),
    End: () => viewport.follow(true),
    "/": actions.openSearch,
    n: () => actions.step(1),
    N: () => actions.step(-1),
    w: actions.toggleWrap,
    t: actions.nextTimes,
  })[key];
}
