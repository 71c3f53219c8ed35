// Looks at the run again and changes only what differs, so that focus, selection and a reader's place stay.
"use strict";
(() => {
  const AFTER_TROUBLE = 15;
  const live = document.getElementById("live");
  const main = document.querySelector("main");
  const button = live.querySelector("button");
  const note = document.getElementById("note");
  let paused = false;
  let looking = false;
  let timer;

  function alike(old, fresh) {
    const same = (name) => old.getAttribute?.(name) === fresh.getAttribute?.(name);
    // A link to somewhere else is another link: it must not change under the finger.
    return old.nodeName === fresh.nodeName && same("id") && same("href");
  }

  function patch(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      // What has an id is found by it: a new section does not turn its neighbours into something else.
      const known = child.id ? [...old.children].find((one) => one.id === child.id) : null;
      while (known && at !== known && at) at = remove(at);
      if (at && alike(at, child)) {
        patch(at, child);
        at = at.nextSibling;
      } else {
        old.insertBefore(child, at);
      }
    }
    while (at) at = remove(at);
  }

  function remove(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function tell(words) {
    if (note.textContent !== words) note.textContent = words;
  }

  function show(fresh) {
    const held = document.activeElement;
    const said = document.querySelector("h1").textContent;
    const told = fresh.querySelector("h1").textContent;
    for (const id of ["headline", "told", "run"]) patch(document.getElementById(id), fresh.getElementById(id));
    document.title = fresh.title;
    tell("");
    if (said !== told) document.getElementById("said").textContent = told;
    if (!fresh.getElementById("live")) live.remove();
    if (!held.isConnected) main.focus({ preventScroll: true });
  }

  // The page as it is now; null, and a word to the reader, when Airflow does not give it.
  async function ask() {
    let answer, text;
    try {
      answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(20000) });
      text = await answer.text();
    } catch {
      tell("Airflow does not answer; trying again.");
      return null;
    }
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (answer.ok && fresh.getElementById("told")) return fresh;
    // Whoever is logged out gets 401, or the page of the login.
    const out = answer.ok || answer.status === 401;
    tell(out ? "Load the page to log in again." : `Airflow answers ${answer.status}; trying again.`);
    return null;
  }

  // Asks, unless it must not; who ends the pause or shows the page calls it again.
  async function look() {
    if (looking || paused || document.hidden || !live.isConnected) return;
    looking = true;
    const fresh = await ask();
    looking = false;
    if (fresh && !paused) show(fresh);
    wait(fresh ? Number(main.dataset.again) : AFTER_TROUBLE);
  }

  function wait(seconds) {
    clearTimeout(timer);
    timer = setTimeout(look, seconds * 1000);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume updates" : "Pause updates";
    look();
  });
  document.addEventListener("visibilitychange", look);
  button.hidden = false;
  wait(Number(main.dataset.again));
})();
