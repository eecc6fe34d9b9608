"use strict";
(() => {
  const root = document.documentElement;
  const buttons = document.querySelectorAll("nav button");
  const show = (language) => {
    root.lang = language;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.lang === language));
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => show(button.lang));
  }
  document.querySelector("nav").hidden = false;
  show(navigator.language.toLowerCase().startsWith("zh") ? "zh-Hans" : "en");
})();
