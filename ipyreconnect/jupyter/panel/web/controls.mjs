// The entry of the controls: a model's `kind` says which of header, settings and send box a view is.
// controls.py is the kernel's side.

import { renderHeader } from "./header.mjs";
import { renderSend } from "./send.mjs";
import { renderSettings } from "./settings.mjs";

/** @import { RenderProps } from "@anywidget/types" */

const KINDS = { header: renderHeader, settings: renderSettings, send: renderSend };

export default {
  /** @param {RenderProps<{ kind: keyof typeof KINDS }>} props */
  render(props) {
    KINDS[props.model.get("kind")](props);
  },
};
