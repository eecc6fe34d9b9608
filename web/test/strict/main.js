/** A page that shows and hides a component with the guide's hook, in StrictMode. */

import { useModel } from "hook";
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";

function Model() {
  globalThis.model = useModel("./manifest.json");
  return null;
}

const root = createRoot(document.getElementById("root"));
globalThis.show = (shown) =>
  root.render(createElement(StrictMode, null, shown ? createElement(Model) : null));
