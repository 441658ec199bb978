// The till's page: keys, scanner, sounds, and what the counter says. All rules are the server's.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const body = document.body;
  const words = body.dataset;
  const TOKEN = words.token || "";
  const SCAN_GAP_MS = 35; // between two keys of a scanner; people are slower
  const SCAN_LENGTH_MIN = 4;
  const TWICE_MS = 350; // a second tap on the same button so soon is a bounce
  const KEY_TWICE_MS = 60; // on the pad, where 00 is typed by two taps
  const AMOUNT_DIGITS_MAX = 10;

  // --- sounds: only for what the server says is on disk, or was refused ----------------------

  let audio = null;
  const SOUNDS = {
    paid: [[880, 0, 0.11], [1320, 0.12, 0.2]],
    refused: [[220, 0, 0.18], [180, 0.22, 0.3]],
    again: [[520, 0, 0.12], [390, 0.16, 0.12], [520, 0.32, 0.12]],
    added: [[1500, 0, 0.04]],
    unknown: [[240, 0, 0.2]],
  };
  function play(name) {
    const notes = SOUNDS[name];
    body.dataset.lastSound = name; // for tests, which have no ears
    if (!notes) return;
    try {
      audio = audio || new AudioContext();
      if (audio.state === "suspended") audio.resume().catch(() => {});
      for (const [hertz, start, length] of notes) {
        const tone = audio.createOscillator();
        const volume = audio.createGain();
        const at = audio.currentTime + start;
        tone.frequency.value = hertz;
        tone.type = name === "paid" || name === "added" ? "sine" : "square";
        volume.gain.setValueAtTime(tone.type === "sine" ? 0.35 : 0.12, at);
        volume.gain.exponentialRampToValueAtTime(0.001, at + length);
        tone.connect(volume).connect(audio.destination);
        tone.start(at);
        tone.stop(at + length);
      }
    } catch (error) {
      console.warn("no sound", error); // a till without a loudspeaker sells all the same
    }
  }

  // --- what the counter says -------------------------------------------------------------------

  let shownKey = null;
  let focusBefore = null;
  function showStage(html, isFirst) {
    const stage = $("stage");
    if (!stage) return;
    const wasOpen = stage.childElementCount > 0;
    if (!wasOpen) focusBefore = document.activeElement;
    if (!isFirst) {
      stage.innerHTML = html;
      if (window.htmx) window.htmx.process(stage);
    }
    const act = stage.firstElementChild;
    const under = document.querySelector("main");
    if (under) under.inert = Boolean(act);
    const open = $("window");
    if (act && open && open.open && !isFirst) closeWindow();
    if (act) {
      const key = act.dataset.soundKey || null;
      if (!isFirst && act.dataset.sound && key !== shownKey) play(act.dataset.sound);
      shownKey = key;
      const said = act.querySelector(".said-big");
      if (said && said.scrollHeight > said.clientHeight) said.tabIndex = 0; // so that keys can scroll it
      const main = act.querySelector("[data-main]");
      if (main) main.focus({ preventScroll: true });
      autosubmit(stage);
    } else {
      shownKey = null;
      const back = focusBefore && focusBefore.isConnected ? focusBefore : document.querySelector("[data-home]");
      if (wasOpen && back) back.focus({ preventScroll: true });
    }
  }

  const HANDLERS = {
    stage: (html) => showStage(html, false),
    cart: (html) => replace("cart", html),
    status: (html) => replace("bar-status", html),
    ribbon: (html) => replace("ribbon", html),
    lights: (html) => replace("lights", html),
    display: (html) => replace("shown", html),
  };
  function replace(id, html) {
    const there = $(id);
    if (!there) return;
    there.innerHTML = html;
    if (window.htmx) window.htmx.process(there);
    onCart();
  }
  function listen() {
    if (!words.events) return;
    let quiet = 0;
    const source = new EventSource(words.events);
    for (const [name, handle] of Object.entries(HANDLERS)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    source.addEventListener("gone", () => { source.close(); location.reload(); });
    source.onopen = () => {
      body.dataset.connected = "yes";
      clearTimeout(quiet);
      const lost = $("lost");
      if (lost) lost.hidden = true;
    };
    source.onerror = () => {
      body.dataset.connected = "no";
      clearTimeout(quiet);
      quiet = setTimeout(() => { const lost = $("lost"); if (lost) lost.hidden = false; }, 2500);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
    };
    addEventListener("pagehide", () => source.close());
  }

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

  // --- fields with a pad of their own -----------------------------------------------------------

  function pressInto(field, key) {
    const start = field.selectionStart ?? field.value.length;
    const end = field.selectionEnd ?? field.value.length;
    if (key === "clear") field.value = "";
    else if (key === "back") {
      const from = start === end ? Math.max(0, start - 1) : start;
      field.value = field.value.slice(0, from) + field.value.slice(end);
      field.setSelectionRange(from, from);
    } else if (!field.maxLength || field.maxLength < 0 || field.value.length - (end - start) + key.length <= field.maxLength) {
      field.value = field.value.slice(0, start) + key + field.value.slice(end);
      field.setSelectionRange(start + key.length, start + key.length);
    }
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  let fieldBefore = null;
  addEventListener("focusin", (event) => { if (event.target.matches("input")) fieldBefore = event.target; });
  function lastField() {
    const field = fieldBefore && fieldBefore.isConnected ? fieldBefore : document.querySelector("input[data-home]");
    field.focus();
    return field;
  }

  const LAYOUTS = {
    digits: [["1", "2", "3", "4", "5"], ["6", "7", "8", "9", "0"], ["clear", "back", "done"]],
    search: [
      ["q", "w", "e", "r", "t", "y", "u", "i", "o", "p"],
      ["a", "s", "d", "f", "g", "h", "j", "k", "l", "back"],
      ["z", "x", "c", "v", "b", "n", "m", ",", ".", "-"],
      ["clear", " ", "done"],
    ],
    text: [
      ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"],
      ["q", "w", "e", "r", "t", "y", "u", "i", "o", "p"],
      ["a", "s", "d", "f", "g", "h", "j", "k", "l", "-"],
      ["z", "x", "c", "v", "b", "n", "m", ",", ".", "back"],
      ["clear", " ", "done"],
    ],
  };
  let keyed = null;
  function showKeys(field) {
    hideKeys();
    keyed = field;
    const board = document.createElement("div");
    board.id = "keys";
    board.setAttribute("aria-hidden", "true"); // a finger's help; the field itself is what is named
    for (const keys of LAYOUTS[field.dataset.keys] || LAYOUTS.text) {
      const line = document.createElement("div");
      for (const key of keys) {
        const button = document.createElement("button");
        button.type = "button";
        button.tabIndex = -1;
        button.dataset.board = key;
        button.textContent = { back: "⌫", clear: words.wordClear, done: words.wordDone, " ": words.wordSpace }[key] || key;
        if (key === " ") button.className = "five";
        if (key === "clear" || key === "done") button.className = "two" + (key === "done" ? " main" : "");
        line.append(button);
      }
      board.append(line);
    }
    const inside = field.closest("dialog");
    if (inside) board.classList.add("inside");
    (inside || body).append(board);
    body.classList.add("typing");
    field.scrollIntoView({ block: "center" });
  }
  function hideKeys() {
    const board = $("keys");
    if (board) board.remove();
    body.classList.remove("typing");
    keyed = null;
  }
  addEventListener("pointerdown", (event) => {
    const key = event.target.closest("[data-board]");
    if (!key) return;
    event.preventDefault(); // the field keeps the focus
    if (keyed && key.dataset.board !== "done") pressInto(keyed, key.dataset.board);
  });
  // Board and layout change with the click, not before: it would reach what comes to lie under the finger.
  addEventListener("click", (event) => {
    const field = event.target.closest("[data-keys]");
    const key = event.target.closest("[data-board]");
    if (field && !field.readOnly) showKeys(field);
    else if (key && key.dataset.board === "done") { const typedInto = keyed; hideKeys(); if (typedInto) typedInto.blur(); }
    else if (!event.target.closest("#keys")) hideKeys();
  });

  // --- buttons ----------------------------------------------------------------------------------

  const lastClick = new WeakMap();
  addEventListener("click", (event) => {
    const button = event.target.closest("button, a.button, [role=button]");
    if (!button) return;
    const now = performance.now();
    const isKey = button.dataset.press !== undefined || button.dataset.step !== undefined;
    const before = lastClick.get(button) || -Infinity;
    if (now - before < (isKey ? KEY_TWICE_MS : TWICE_MS)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    lastClick.set(button, now);
    if (button.dataset.press !== undefined) {
      const field = button.dataset.intoFocus !== undefined ? lastField() : button.dataset.into ? $(button.dataset.into) : null;
      if (field) pressInto(field, button.dataset.press); else press(button.dataset.press);
    }
    if (button.dataset.step !== undefined) {
      const field = $(button.dataset.into);
      field.value = String(Math.max(Number(field.min || 0), (parseInt(field.value, 10) || 0) + Number(button.dataset.step)));
    }
    if (button.dataset.set !== undefined) {
      const field = $(button.dataset.into);
      field.value = button.dataset.set;
      field.focus();
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (button.dataset.close !== undefined) closeWindow();
    if (button.dataset.dismiss !== undefined) button.parentElement.remove();
    if (button.dataset.tab) showTab(button.dataset.tab);
    if (button.dataset.reload !== undefined) location.reload();
  }, true);

  addEventListener("input", (event) => {
    const choice = event.target.dataset && event.target.dataset.chooses;
    const radio = choice && document.querySelector(`input[type=radio][value="${choice}"]`);
    if (radio) radio.checked = true;
  });

  addEventListener("submit", (event) => {
    const form = event.target;
    if (form.hasAttribute("hx-post") || form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; }, 3000);
  });

  function autosubmit(within) {
    for (const form of within.querySelectorAll("form[data-autosubmit]")) {
      if (form.dataset.done) continue;
      form.dataset.done = "yes";
      form.requestSubmit();
    }
  }

  // --- tabs of the sell screen ------------------------------------------------------------------

  function showTab(name) {
    for (const tab of document.querySelectorAll("[data-tab]")) {
      const isThis = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(isThis));
      const panel = $(tab.getAttribute("aria-controls"));
      if (panel) panel.hidden = !isThis;
    }
    try { sessionStorage.setItem("tab", name); } catch { /* a browser without storage forgets the tab */ }
    if (name === "goods") { const search = $("search"); if (search) search.focus(); }
  }

  // --- the window over the page -----------------------------------------------------------------

  function closeWindow() {
    hideKeys();
    const there = $("window");
    if (there && there.open) there.close();
    if (there) there.innerHTML = "";
  }
  addEventListener("htmx:afterSwap", (event) => {
    const target = event.detail.target;
    if (target.id === "window") {
      const there = $("window");
      if (there.childElementCount && !there.open) there.showModal();
      if (!there.childElementCount) closeWindow();
      const first = there.querySelector("[data-first]");
      if (first) { first.focus(); if (first.select) first.select(); }
    }
    if (target.id === "cart") {
      if (!(target.querySelector("[data-keep-window]"))) closeWindow();
      const cart = target.querySelector("[data-added]");
      if (cart && cart.dataset.added) play(cart.dataset.added);
      if (cart && cart.dataset.clears) setTyped("");
      onCart();
    }
  });
  addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = TOKEN;
  });
  for (const trouble of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    addEventListener(trouble, () => { const lost = $("lost"); if (lost) lost.hidden = false; });
  }

  // --- keyboard and scanner ---------------------------------------------------------------------

  let movedByKeys = false;
  addEventListener("pointerdown", () => { movedByKeys = false; });
  let burst = "";
  let burstAt = -Infinity;
  let typedBefore = "";
  const isField = (element) => element && element.matches("input, textarea, select");
  function scan(code) {
    if (!$("cart") || !words.scan) return false;
    window.htmx.ajax("POST", words.scan, { target: "#cart", swap: "innerHTML", values: { code } });
    return true;
  }
  function click(element) {
    if (!element || element.disabled || element.closest("[inert]")) return false;
    element.click();
    return true;
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const stage = $("stage");
    const act = stage && stage.firstElementChild;
    const over = $("window");
    const inWindow = over && over.open;
    const field = document.activeElement;

    if (/^F\d+$/.test(event.key)) {
      const scope = act ? stage : inWindow ? over : document;
      const named = scope.querySelector(`[data-key="${event.key}"]`) || (inWindow ? null : document.querySelector(`.bar [data-key="${event.key}"]`));
      if (named) { event.preventDefault(); click(named); }
      return;
    }
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

  // --- begin --------------------------------------------------------------------------------------

  function begin() {
    const over = $("window");
    if (over) over.addEventListener("close", () => { hideKeys(); over.innerHTML = ""; });
    let tab = null;
    try { tab = sessionStorage.getItem("tab"); } catch { tab = null; }
    if (document.querySelector("[data-tab]")) showTab(tab && document.querySelector(`[data-tab="${tab}"]`) ? tab : document.querySelector("[data-tab]").dataset.tab);
    setTyped("");
    if ($("stage") && $("stage").firstElementChild) showStage("", true);
    autosubmit(document.querySelector("main") || body);
    const home = document.querySelector("[data-home]");
    if (home && !($("stage") && $("stage").firstElementChild)) home.focus({ preventScroll: true });
    listen();
    if (words.waitFor) {
      const look = () => fetch(words.waitFor, { redirect: "manual" }).then(() => location.assign(words.waitFor)).catch(() => setTimeout(look, 500));
      setTimeout(look, 1500);
    }
    body.dataset.ready = "yes";
  }
  // After htmx has taken the page over: a form sent before that would be sent by the browser itself.
  addEventListener("DOMContentLoaded", begin);
})();
