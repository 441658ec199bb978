// What all pages do: sounds, events, keys on the screen, buttons that bounce. All rules are the server's.
"use strict";

window.dobmi = (() => {
  const $ = (id) => document.getElementById(id);
  const body = document.body;
  const words = body.dataset;
  const TOKEN = words.token || "";
  const TWICE_MS = 350; // a second tap on the same button so soon is a bounce
  const KEY_TWICE_MS = 60; // on a pad, where 00 is typed by two taps
  // What a page brings of its own, by start().
  let own = { sounds: {}, parts: {}, onPart: () => {}, onPress: () => {}, onSwap: () => {}, begin: () => {} };

  // --- sounds: only for what the server says has happened --------------------------------------

  let audio = null;
  // [hertz, start, length in seconds]
  const SOUNDS = {
    paid: [[880, 0, 0.11], [1320, 0.12, 0.2]],
    refused: [[220, 0, 0.18], [180, 0.22, 0.3]],
    again: [[520, 0, 0.12], [390, 0.16, 0.12], [520, 0.32, 0.12]],
  };
  function play(name) {
    const notes = SOUNDS[name] || own.sounds[name];
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
      console.warn("no sound", error); // without a loudspeaker everything works all the same
    }
  }

  // --- the stage over the page: what the card is doing ------------------------------------------

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
      const main = act.querySelector("[data-typing]") || act.querySelector("[data-main]");
      if (main) main.focus({ preventScroll: true });
      autosubmit(stage);
    } else {
      shownKey = null;
      const back = focusBefore && focusBefore.isConnected ? focusBefore : document.querySelector("[data-home]");
      if (wasOpen && back) back.focus({ preventScroll: true });
    }
  }

  function replace(id, html) {
    const there = $(id);
    if (!there) return;
    there.innerHTML = html;
    if (window.htmx) window.htmx.process(there);
    own.onPart(id);
  }
  function listen() {
    if (!words.events) return;
    let quiet = 0;
    const source = new EventSource(words.events);
    source.addEventListener("stage", (event) => showStage(JSON.parse(event.data), false));
    for (const [name, id] of Object.entries(own.parts)) {
      source.addEventListener(name, (event) => replace(id, JSON.parse(event.data)));
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
    const byHand = words.keysBy !== "touch" || event.pointerType === "touch"; // a desk has a keyboard of its own
    if (field && !field.readOnly && byHand) showKeys(field);
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
      if (field) pressInto(field, button.dataset.press); else own.onPress(button.dataset.press);
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

  // --- tabs -----------------------------------------------------------------------------------

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
    own.onSwap(target);
  });
  addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF-Token"] = TOKEN;
  });
  for (const trouble of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    addEventListener(trouble, () => { const lost = $("lost"); if (lost) lost.hidden = false; });
  }

  // --- keys -------------------------------------------------------------------------------------

  const isField = (element) => Boolean(element) && element.matches("input, textarea, select");
  function click(element) {
    if (!element || element.disabled || element.closest("[inert]")) return false;
    element.click();
    return true;
  }
  // A function key is the button's that names it: on the stage, in the window, else on the page or its bar.
  function functionKey(event) {
    if (!/^F\d+$/.test(event.key)) return false;
    const stage = $("stage");
    const over = $("window");
    const inWindow = over && over.open;
    const scope = stage && stage.firstElementChild ? stage : inWindow ? over : document;
    const named = scope.querySelector(`[data-key="${event.key}"]`) || (inWindow ? null : document.querySelector(`.bar [data-key="${event.key}"]`));
    if (named) { event.preventDefault(); click(named); }
    return true;
  }

  // --- begin ------------------------------------------------------------------------------------

  function begin() {
    const over = $("window");
    if (over) over.addEventListener("close", () => { hideKeys(); over.innerHTML = ""; });
    let tab = null;
    try { tab = sessionStorage.getItem("tab"); } catch { tab = null; }
    if (document.querySelector("[data-tab]")) showTab(tab && document.querySelector(`[data-tab="${tab}"]`) ? tab : document.querySelector("[data-tab]").dataset.tab);
    own.begin();
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
  function start(brought) {
    own = { ...own, ...brought };
    addEventListener("DOMContentLoaded", begin);
  }
  return { TOKEN, play, pressInto, hideKeys, closeWindow, functionKey, click, isField, start };
})();
