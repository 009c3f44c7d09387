// The controls of a panel that stock widgets can't give: header, settings and send box; each view is one of
// them.

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
