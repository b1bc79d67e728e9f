// The terminal's page: xterm.js at one end, the door's WebSocket at the other.
//
// The messages are ttyd's: `0` input, `1` size, `2` "send no more for now", `3` "go on" to the door, and `0` output
// from it; `4` is the step of starting the environment that is being taken. `2` and `3` are what keeps xterm.js from
// drowning: it holds what it has not shown yet.

// This script is a module, for which there is no document.currentScript.
const urls = document.querySelector("script[data-socket]").dataset;

const HIGH_WATER = 1024 * 1024; // bytes that xterm.js holds, at which the door is to wait
const LOW_WATER = 128 * 1024; // and go on
const PIECE = 32 * 1024; // bytes of a paste in one message; the door takes 64 KiB
const FIRST_WAIT = 500; // milliseconds to the first try to connect anew, doubled by each that fails
const LONGEST_WAIT = 15000;
const TURN_PATIENCE = 60000; // milliseconds for the tabs that are given a session before this one
const MAX_TITLE = 200; // characters
const [OVER, RESTARTING, LOGGED_OUT, FAILED, ENDED] = [1000, 1012, 4401, 4503, 4504];
const FINAL = new Set([OVER, 1008, 1009, 1011, LOGGED_OUT, ENDED]); // codes after which trying again is the user's choice

const THEMES = {
  dark: {
    background: "#141312", foreground: "#e8e6e3", cursor: "#e8e6e3", cursorAccent: "#141312",
    selectionBackground: "#4d5a73",
  },
  light: {
    background: "#fdfcfa", foreground: "#1c1b1a", cursor: "#1c1b1a", cursorAccent: "#fdfcfa",
    selectionBackground: "#b9cdf0",
    black: "#1c1b1a", red: "#a3142b", green: "#1e6b3c", yellow: "#7a5a00", blue: "#1f4fa3", magenta: "#8a2a86",
    cyan: "#0b6a75", white: "#5c5955", brightBlack: "#6b6762", brightRed: "#c2253e", brightGreen: "#2b7f4c",
    brightYellow: "#8a6800", brightBlue: "#3465bd", brightMagenta: "#a13d9c", brightCyan: "#1a7d89",
    brightWhite: "#3a3836",
  },
};

const NEW = "new"; // in place of a session's number

const KEYS = { Escape: "\x1b", Tab: "\t" };
const ARROWS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D" };

const element = (id) => document.getElementById(id);
const encoder = new TextEncoder();

allowStyles();
const [{ Terminal }, { FitAddon }, { WebLinksAddon }, { ClipboardAddon, Base64 }, { Unicode11Addon }] =
  await Promise.all(["xterm", "fit", "webLinks", "clipboard", "unicode11"].map((name) => load(urls[name])));

const settings = {
  get: (name, otherwise) => {
    try {
      return localStorage.getItem(`rootblood.${name}`) ?? otherwise;
    } catch {
      return otherwise; // storage may be forbidden
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(`rootblood.${name}`, value);
    } catch {
      // then it holds for this page
    }
  },
};

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const terminal = new Terminal({
  allowProposedApi: true, // for unicode11
  fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  fontSize: fontSize(settings.get("font-size", 15)),
  macOptionClickForcesSelection: true,
  minimumContrastRatio: 4.5,
  screenReaderMode: settings.get("screen-reader", "") === "yes",
  scrollback: 2000,
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.loadAddon(new WebLinksAddon((_event, uri) => window.open(uri, "_blank", "noopener,noreferrer")));
// Programs may fill the clipboard, as in other terminals (OSC 52), and never read it.
terminal.loadAddon(new ClipboardAddon(new Base64(), { readText: () => "", writeText: (_kind, text) => copy(text) }));
terminal.loadAddon(new Unicode11Addon());
terminal.unicode.activeVersion = "11";
applyTheme();
terminal.open(element("terminal"));
terminal.textarea.setAttribute("aria-describedby", "hint");
fit.fit();
terminal.focus();

let socket = null;
let attempt = 0; // to connect, counted
let failures = 0;
let outage = ""; // what the door said as it went away, until it is back
let timer = 0;
let control = false;
let remembering = Promise.resolve(); // until the address says which session is shown

connect();

// A module that does not arrive is asked for again: a network that changes at this moment would leave a dead page.
async function load(url) {
  for (let tries = 0, wait = FIRST_WAIT; ; tries += 1, wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      return await import(tries ? `${url}?again=${tries}` : url); // browsers remember an address that failed
    } catch {
      state("Loading again", "");
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

async function connect() {
  clearTimeout(timer);
  element("notice").hidden = true;
  state("Connecting", "");
  const old = socket;
  socket = null;
  old?.close();
  const mine = (attempt += 1);
  const session = sessionOfAddress();
  const done = session === null || session === NEW ? await turn() : () => {};
  if (attempt === mine) {
    openSocket(session, done);
  } else {
    done(); // a later one has begun
  }
}

// Which session a terminal got is told by the lists before and after. So of the tabs that leave the choice to the door,
// as several do at once when a browser opens its windows again, one at a time is given one. Calling what this gives
// ends the turn.
function turn() {
  return new Promise((taken) => {
    const wait = { signal: AbortSignal.timeout(TURN_PATIENCE) };
    const hold = () => new Promise((done) => taken(done));
    const over = () => taken(() => {}); // it took too long, or there are no locks: over a network they need TLS
    Promise.resolve(navigator.locks?.request("rootblood.session", wait, hold)).then(over, over);
  });
}

function openSocket(session, done) {
  const url = new URL(urls.socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (session !== null) {
    url.searchParams.set("session", session);
  }
  const mine = new WebSocket(url, "tty");
  let waiting = 0; // bytes that xterm.js has not shown
  let paused = false;
  let shown = false;
  socket = mine;
  mine.binaryType = "arraybuffer";
  const before = listed();
  mine.onopen = async () => {
    await before; // no session is chosen until then
    if (mine.readyState === WebSocket.OPEN) {
      fit.fit();
      mine.send(JSON.stringify({ AuthToken: "", ...size() }));
    }
  };
  mine.onmessage = (message) => {
    const data = new Uint8Array(message.data);
    if (data[0] === 0x34) {
      const step = new TextDecoder().decode(data.subarray(1));
      state(`${step[0].toUpperCase()}${step.slice(1)} your environment`, "");
      return;
    }
    if (data[0] !== 0x30) {
      return;
    }
    if (!shown) {
      shown = true;
      failures = 0;
      outage = "";
      terminal.reset(); // what is there now is the door's to draw
      remembering = remember(session, before).finally(done);
      state("Connected", "open");
    }
    waiting += data.length;
    if (!paused && waiting > HIGH_WATER) {
      paused = true;
      mine.send("2");
    }
    terminal.write(data.subarray(1), () => {
      waiting -= data.length;
      if (paused && waiting < LOW_WATER && mine.readyState === WebSocket.OPEN) {
        paused = false;
        mine.send("3");
      }
    });
  };
  mine.onclose = (event) => {
    done();
    if (socket === mine) {
      socket = null;
      closed(event.code, event.reason, shown);
    }
  };
}

function sessionOfAddress() {
  const session = new URL(location.href).searchParams.get("session");
  return /^(\d{1,9}|new)$/.test(session) ? session : null; // the door refuses what is none
}

function chooseSession(number) {
  history.replaceState(null, "", number === null ? location.pathname : `?session=${number}`);
}

// How many terminals show each of the account's sessions, by its number; null where nobody can tell.
async function listed() {
  const found = await sessions();
  return found && new Map(found.map((session) => [session.number, session.attached]));
}

async function sessions() {
  try {
    const answer = await fetch(urls.sessions, { cache: "no-store" });
    return answer.ok ? (await answer.json()).sessions : null;
  } catch {
    return null; // the door is away, which the page says already
  }
}

// After a drop or a reload it is to be the same session again, whatever other tabs had. The terminal does not say
// which one it got: it is the one that is shown in a terminal more than before, or the only one that is shown at all.
async function remember(asked, listedBefore) {
  const [before, now] = [await listedBefore, await listed()];
  if (sessionOfAddress() !== asked) {
    return; // it has ended meanwhile, or another one was chosen
  }
  const shown = [...(now ?? [])].filter(([, attached]) => attached > 0);
  const more = shown.filter(([number, attached]) => before && attached > (before.get(number) ?? 0));
  const mine = more.length ? more : shown;
  if (mine.length === 1) {
    chooseSession(mine[0][0]);
  } else if (now && !now.has(asked)) {
    chooseSession(null); // most of all NEW: that would be one more each time
  }
}

async function closed(code, reason, shown) {
  state("Not connected", "closed");
  if (code === OVER) {
    notice("The session has ended.", "New session");
    chooseSession(NEW);
  } else if (code === LOGGED_OUT || (!shown && code === 1006 && (await loggedOut()))) {
    notice("You are logged out.", "Log in", () => location.reload());
  } else if (FINAL.has(code)) {
    notice(`The terminal was closed: ${reason || code}.`, "Connect");
  } else {
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures) * (0.75 + Math.random() / 2);
    failures += 1;
    if (code === RESTARTING && reason) {
      outage = reason[0].toUpperCase() + reason.slice(1);
    }
    const why = code === FAILED ? reason : outage || "The connection is lost";
    notice(`${why}. Trying again in ${Math.ceil(wait / 1000)} s.`, "Connect now");
    state("Reconnecting", "closed");
    timer = setTimeout(connect, wait);
  }
}

// A WebSocket that was refused does not say why; the page does.
async function loggedOut() {
  try {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual", cache: "no-store" });
    return answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403;
  } catch {
    return false;
  }
}

function send(kind, data) {
  if (socket?.readyState !== WebSocket.OPEN) {
    return;
  }
  for (let start = 0; start < data.length; start += PIECE) {
    const piece = data.subarray(start, start + PIECE);
    const message = new Uint8Array(piece.length + 1);
    message[0] = kind.charCodeAt(0);
    message.set(piece, 1);
    socket.send(message);
  }
}

function size() {
  return { columns: terminal.cols, rows: terminal.rows };
}

function state(text, kind) {
  element("state").textContent = text;
  element("state").className = kind;
}

function notice(text, action, act = connectNow) {
  element("notice-text").textContent = text;
  element("connect").textContent = action;
  element("connect").onclick = act;
  element("notice").hidden = false;
}

function connectNow() {
  failures = 0;
  connect();
  terminal.focus();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // not allowed, or the page has no focus: as in a terminal that has no clipboard
  }
}

function fontSize(value) {
  const number = Math.round(Number(value));
  return number >= 8 && number <= 32 ? number : 15;
}

function applyTheme() {
  const chosen = settings.get("theme", "auto");
  const name = chosen in THEMES ? chosen : prefersDark.matches ? "dark" : "light";
  terminal.options.theme = THEMES[name];
  document.documentElement.classList.toggle("dark", name === "dark");
  document.documentElement.classList.toggle("light", name === "light");
}

// What the user does.

function withControl(text) {
  if (!control || text.length !== 1) {
    return text;
  }
  press(false);
  // Of the others none has a control character, and what is left of their bits may end or stop a program.
  return /[@-_a-z]/.test(text) ? String.fromCharCode(text.charCodeAt(0) & 0x1f) : text;
}

function press(pressed) {
  control = pressed;
  document.querySelector("[data-key=Control]").setAttribute("aria-pressed", String(pressed));
}

terminal.onData((text) => {
  if (socket === null && text === "\r") {
    element("connect").click(); // what the notice offers, within reach of the keyboard
  } else {
    send("0", encoder.encode(withControl(text)));
  }
});
terminal.onBinary((text) => send("0", Uint8Array.from(text, (character) => character.charCodeAt(0))));
terminal.onResize(() => send("1", encoder.encode(JSON.stringify(size()))));
terminal.onTitleChange((title) => {
  const short = title.slice(0, MAX_TITLE);
  element("title").textContent = short || "Terminal";
  document.title = `${short || "Terminal"} - RootBlood`;
});
terminal.onBell(() => {
  element("terminal").classList.add("bell");
  setTimeout(() => element("terminal").classList.remove("bell"), 150);
  if (document.hidden && !document.title.startsWith("* ")) {
    document.title = `* ${document.title}`;
  }
});
terminal.attachCustomKeyEventHandler((event) => {
  if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
    if (event.type === "keydown" && terminal.hasSelection()) {
      copy(terminal.getSelection());
    }
    event.preventDefault(); // in some browsers it opens their tools
    return false;
  }
  if (isWayOut(event)) {
    return false;
  }
  // The browser's own paste, which xterm.js takes from there.
  return !(event.ctrlKey && event.shiftKey && event.code === "KeyV");
});

// Tab is the terminal's, so without a key of its own nobody got out of it by keyboard (WCAG 2.1.2).
addEventListener("keydown", (event) => {
  if (!isWayOut(event)) {
    return;
  }
  event.preventDefault();
  if (document.activeElement === terminal.textarea) {
    document.querySelector("header a").focus();
  } else {
    terminal.focus();
  }
});

function isWayOut(event) {
  return event.ctrlKey && event.shiftKey && event.key === "F6";
}

new ResizeObserver(() => fit.fit()).observe(element("terminal"));
prefersDark.addEventListener("change", applyTheme);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    document.title = document.title.replace(/^\* /, "");
    retry();
  }
});
addEventListener("online", retry);

// Waiting is for a door that is away, not for a network that has just come back.
function retry() {
  if (socket === null && failures > 0 && element("state").textContent === "Reconnecting") {
    connect();
  }
}

element("keys").addEventListener("pointerdown", (event) => event.preventDefault()); // the terminal keeps the focus
element("keys").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key === "Control") {
    press(!control);
  } else if (key in ARROWS) {
    terminal.input((terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[") + ARROWS[key]);
  } else if (key in KEYS) {
    terminal.input(KEYS[key]);
  }
  terminal.focus();
});

// The list is asked for when it is looked at, as what runs changes.
element("sessions").addEventListener("toggle", async () => {
  if (!element("sessions").open) {
    return;
  }
  const list = element("session-list");
  const [found] = await Promise.all([sessions(), remembering]);
  list.replaceChildren();
  if (!found?.length) {
    const item = document.createElement("li");
    item.textContent = found ? "None is open." : "The list cannot be had now.";
    list.append(item);
    return;
  }
  for (const session of found) {
    const link = document.createElement("a");
    link.href = `?session=${session.number}`;
    link.textContent = session.title ? `${session.command}: ${session.title}` : session.command;
    if (session.number === sessionOfAddress()) {
      link.setAttribute("aria-current", "page");
    }
    const detail = document.createElement("small");
    const shownIn = session.attached === 1 ? "1 terminal" : `${session.attached} terminals`;
    detail.textContent = `${session.attached ? `in ${shownIn}, ` : ""}since ${new Date(session.created_at).toLocaleString()}`;
    const item = document.createElement("li");
    item.append(link, detail);
    list.append(item);
  }
});

element("theme").value = settings.get("theme", "auto");
element("theme").addEventListener("change", (event) => {
  settings.set("theme", event.target.value);
  applyTheme();
});
element("font-size").value = terminal.options.fontSize;
element("font-size").addEventListener("change", (event) => {
  terminal.options.fontSize = fontSize(event.target.value);
  event.target.value = terminal.options.fontSize;
  settings.set("font-size", terminal.options.fontSize);
  fit.fit();
});
element("screen-reader").checked = terminal.options.screenReaderMode;
element("screen-reader").addEventListener("change", (event) => {
  terminal.options.screenReaderMode = event.target.checked;
  settings.set("screen-reader", event.target.checked ? "yes" : "no");
});
const menus = [element("settings"), element("sessions")];
for (const menu of menus) {
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      menu.open = false;
      terminal.focus();
    }
  });
  menu.addEventListener("toggle", () => {
    if (menu.open) {
      closeMenus(menu);
    }
  });
}
element("terminal").addEventListener("pointerdown", () => closeMenus());

function closeMenus(but) {
  for (const menu of menus) {
    menu.open = menu === but;
  }
}

// xterm.js makes style elements and style attributes, which the content security policy of this site forbids, as it
// would those of somebody who got markup into a page. A script may do the same by other names.
function allowStyles() {
  const createElement = document.createElement;
  document.createElement = function (name, ...rest) {
    if (name !== "style") {
      return createElement.call(document, name, ...rest);
    }
    const inPlace = createElement.call(document, "template"); // an empty style would be complained of already
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(inPlace, "textContent", { set: (css) => sheet.replaceSync(css) });
    return inPlace;
  };
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") {
      this.style.cssText = value;
    } else {
      setAttribute.call(this, name, value);
    }
  };
}
