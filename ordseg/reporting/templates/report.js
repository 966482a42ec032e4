"use strict";
(() => {
  const slider = document.getElementById("level");
  if (slider) {
    const words = document.getElementById("level-words"), most = Number(slider.max);
    const show = () => {
      const wanted = Number(slider.value);  // of a whole panel; of fewer raters, the same share or more
      const text = wanted === most ? `all ${most} raters` : `at least ${wanted} of ${most} raters`;
      slider.setAttribute("aria-valuetext", text);
      words.textContent = text;
      for (const figure of document.querySelectorAll("[data-raters]")) {
        const shown = Math.ceil(wanted * Number(figure.dataset.raters) / most);
        for (const view of figure.querySelectorAll("[data-level]"))
          view.classList.toggle("now", Number(view.dataset.level) === shown);
      }
    };
    document.documentElement.classList.add("js");
    document.getElementById("slider").hidden = false;
    slider.addEventListener("input", show);
    show();
  }
  let closed = [];  // what is folded is printed too
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
})();
