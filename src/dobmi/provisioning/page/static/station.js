// The staff's page: files, amounts, keys. All rules are the server's.
"use strict";

(() => {
  const { TOKEN, play, hideKeys, closeWindow, functionKey, click, isField } = window.dobmi;
  const $ = (id) => document.getElementById(id);
  const PARTS = { ribbon: "ribbon", strip: "strip", card: "card", run: "run" };

  // --- sound of the list that is issued: once for each thing that happens ------------------------

  let heard = null;
  function onPart(id) {
    if (id !== "run") return;
    const shown = $("run").firstElementChild;
    if (!shown) return;
    if (heard !== null && shown.dataset.sound && shown.dataset.soundKey !== heard) play(shown.dataset.sound);
    heard = shown.dataset.soundKey;
  }

  // --- amounts: grouped while they are typed, and what is to be given back -----------------------

  const grouped = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, ".");
  const digitsOf = (field) => (field ? field.value.replace(/\D/g, "").replace(/^0+/, "").slice(0, 9) : "");
  function onMoney() {
    const amount = Number(digitsOf($("amount")) || 0);
    const received = Number(digitsOf($("received")) || 0);
    const change = $("change");
    if (!change) return;
    const back = received - amount;
    change.textContent = `${back < 0 ? "− " : ""}Rp ${grouped(String(Math.abs(received ? back : 0)))}`;
    change.parentElement.classList.toggle("short", received > 0 && back < 0);
  }
  addEventListener("input", (event) => {
    const field = event.target;
    if (!field.matches || !field.matches("[data-money]")) return;
    const digits = digitsOf(field);
    field.value = grouped(digits);
    onMoney();
  });

  // --- files: read here, sent as they are, with the session's token -----------------------------

  addEventListener("submit", (event) => {
    const form = event.target;
    const to = form.dataset.fileForm;
    if (!to) return;
    event.preventDefault();
    const file = form.querySelector("input[type=file]").files[0];
    if (!file) return;
    const button = form.querySelector("button");
    button.disabled = true;
    const headers = { "X-CSRF-Token": TOKEN, "X-File-Name": encodeURIComponent(file.name), "HX-Request": "true", "Content-Type": "application/octet-stream" };
    fetch(to, { method: "POST", body: file, headers, redirect: "manual" })
      .then(async (answer) => {
        const path = answer.headers.get("HX-Redirect");
        if (path) location.assign(path);
        else $("said").innerHTML = await answer.text();
      })
      .catch(() => { $("lost").hidden = false; })
      .finally(() => { button.disabled = false; });
  }, true);

  // --- keys ---------------------------------------------------------------------------------------

  let movedByKeys = false;
  addEventListener("pointerdown", () => { movedByKeys = false; });
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-print]");
    if (button) print();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (functionKey(event)) return;
    if (event.key === "Tab" || event.key.startsWith("Arrow")) movedByKeys = true;
    const act = $("stage").firstElementChild;
    const over = $("window");
    const field = document.activeElement;
    if (event.key === "Escape") {
      if ($("keys")) { event.preventDefault(); hideKeys(); }
      else if (act) { event.preventDefault(); click(act.querySelector("[data-escape]")); }
      else if (over.open) { event.preventDefault(); closeWindow(); }
      else if (document.querySelector("main [data-escape]")) { event.preventDefault(); click(document.querySelector("main [data-escape]")); }
      else if (isField(field)) field.blur();
      return;
    }
    if (event.key !== "Enter" || over.open) return;
    if (act) {
      if (!$("stage").contains(field) || !field.matches("button, a")) { event.preventDefault(); click(act.querySelector("[data-main]")); }
      return;
    }
    if (isField(field) || (movedByKeys && field && field.matches("button, a, summary"))) return;
    const main = document.querySelector("main [data-main]:not(:disabled)");
    if (main) { event.preventDefault(); click(main); }
  });

  window.dobmi.start({ parts: PARTS, onPart, begin: () => { onMoney(); if ($("run")) onPart("run"); } });
})();
