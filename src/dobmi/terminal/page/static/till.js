// The till's page: the amount pad, the cart and the scanner. All rules are the server's.
"use strict";

(() => {
  const { play, pressInto, hideKeys, closeWindow, functionKey, click, isField } = window.dobmi;
  const $ = (id) => document.getElementById(id);
  const words = document.body.dataset;
  const SCAN_GAP_MS = 35; // between two keys of a scanner; people are slower
  const SCAN_LENGTH_MIN = 4;
  const AMOUNT_DIGITS_MAX = 10;
  const SOUNDS = { added: [[1500, 0, 0.04]], unknown: [[240, 0, 0.2]] };
  const PARTS = { cart: "cart", status: "bar-status", ribbon: "ribbon", lights: "lights", display: "shown" };

  // --- the amount pad --------------------------------------------------------------------------

  const grouped = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, ".");
  let typed = "";
  function setTyped(digits) {
    typed = digits.replace(/^0+/, "").slice(0, AMOUNT_DIGITS_MAX);
    const output = $("typed");
    if (output) {
      output.textContent = "Rp " + (typed ? grouped(typed) : "0");
      output.classList.toggle("empty", !typed);
    }
    for (const field of document.querySelectorAll("[data-typed]")) field.value = typed;
    const add = $("add-amount");
    if (add) add.disabled = !typed;
    onCart();
  }
  function onCart() {
    const pay = $("pay");
    if (!pay) return;
    const total = Number(pay.dataset.total || 0);
    const sum = total + Number(typed || 0);
    pay.disabled = sum <= 0;
    const shown = pay.querySelector("[data-sum]");
    if (shown) shown.textContent = sum > 0 ? "Rp " + grouped(String(sum)) : "";
    for (const field of document.querySelectorAll("[data-typed]")) field.value = typed;
    const lines = document.querySelector("#cart .lines");
    if (lines) lines.scrollTop = lines.scrollHeight;
  }
  function press(key) {
    if (key === "back") setTyped(typed.slice(0, -1));
    else if (key === "clear") setTyped("");
    else if (typed.length + key.length <= AMOUNT_DIGITS_MAX) setTyped(typed + key);
  }

  function onSwap(target) {
    if (target.id !== "cart") return;
    if (!target.querySelector("[data-keep-window]")) closeWindow();
    const cart = target.querySelector("[data-added]");
    if (cart && cart.dataset.added) play(cart.dataset.added);
    if (cart && cart.dataset.clears) setTyped("");
    onCart();
  }

  // --- keyboard and scanner ---------------------------------------------------------------------

  let movedByKeys = false;
  addEventListener("pointerdown", () => { movedByKeys = false; });
  let burst = "";
  let burstAt = -Infinity;
  let typedBefore = "";
  function scan(code) {
    if (!$("cart") || !words.scan) return false;
    window.htmx.ajax("POST", words.scan, { target: "#cart", swap: "innerHTML", values: { code } });
    return true;
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const stage = $("stage");
    const act = stage && stage.firstElementChild;
    const over = $("window");
    const inWindow = over && over.open;
    const field = document.activeElement;

    if (functionKey(event)) return;
    if (event.key === "Tab" || event.key.startsWith("Arrow")) movedByKeys = true;
    const now = event.timeStamp; // when the key was pressed, however late this page hears of it
    if (event.key.length === 1 && event.key !== " ") {
      if (now - burstAt > SCAN_GAP_MS) { burst = ""; typedBefore = typed; }
      burst += event.key;
      burstAt = now;
    }
    if (event.key === "Escape") {
      if ($("keys")) { event.preventDefault(); hideKeys(); }
      else if (act) { event.preventDefault(); click(act.querySelector("[data-escape]")); }
      else if (inWindow) { event.preventDefault(); closeWindow(); }
      else if (typed) setTyped("");
      else if (isField(field) && field.id === "search" && field.value) { field.value = ""; field.dispatchEvent(new Event("input", { bubbles: true })); }
      else if (document.querySelector("main [data-escape]")) { event.preventDefault(); click(document.querySelector("main [data-escape]")); }
      else if (isField(field)) field.blur();
      return;
    }
    if (event.key === "Enter") {
      const code = burst;
      const isScan = code.length >= SCAN_LENGTH_MIN && now - burstAt <= SCAN_GAP_MS * 2;
      burst = "";
      if (isScan && !inWindow && $("pay") && !(act && act.dataset.busy)) {
        event.preventDefault();
        setTyped(typedBefore);
        if (isField(field) && field.value.endsWith(code)) { field.value = field.value.slice(0, -code.length); }
        if (act) click(act.querySelector("[data-next]"));
        scan(code);
        return;
      }
      if (act) {
        if (!stage.contains(field) || !field.matches("button, a")) { event.preventDefault(); click(act.querySelector("[data-main]")); }
        return;
      }
      if (inWindow || (isField(field) && !(field.id === "search" && !field.value))) return;
      // After Tab, Enter is the button's that has the focus; after a touch it is the main one's.
      const isButton = movedByKeys && field && field.matches("button, a, summary");
      if (isButton) return;
      const main = document.querySelector("main [data-main]:not(:disabled)");
      if (main) { event.preventDefault(); click(main); }
      return;
    }
    if (inWindow || isField(field)) return;
    if (act && !act.dataset.busy && /^\d$/.test(event.key) && $("typed")) {
      const next = act.querySelector("[data-next]");
      if (!next) return;
      click(next); // the next sale has begun: what was shown has been seen
    } else if (act) return;
    const pinned = document.querySelector("[data-typing]");
    if (/^\d$/.test(event.key)) {
      if ($("typed")) { event.preventDefault(); press(event.key); }
      else if (pinned) { event.preventDefault(); pinned.focus(); pressInto(pinned, event.key); }
    } else if (event.key === "Backspace" && $("typed")) press("back");
    else if (event.key === "Delete" && $("typed")) press("clear");
    else if (event.key === "+" && $("add-amount")) { event.preventDefault(); click($("add-amount")); }
  });

  window.dobmi.start({ sounds: SOUNDS, parts: PARTS, onPart: onCart, onPress: press, onSwap, begin: () => setTyped("") });
})();
