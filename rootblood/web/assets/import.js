// The import page: a file goes up in pieces, each after what the server says is there, and is unpacked then.
//
// An upload's id is chosen here and kept by the file's name, size and date, so that the same file goes on where it
// was after a reload. The server knows how far it is; nothing here is believed over that.

// This script is a module, for which there is no document.currentScript.
const urls = document.querySelector("script[data-imports]").dataset;

const PIECE = 8 * 1024 * 1024; // bytes of one request: what is lost at most when it breaks off
const PIECE_TIMEOUT = 120000; // milliseconds without any progress of it
const FIRST_WAIT = 500; // milliseconds to the first new try, doubled by each that fails
const LONGEST_WAIT = 15000;
const LOOK_EVERY = 1000;
const REMEMBERED = 24 * 3600 * 1000; // as long as the server keeps an upload that does not go on

const element = (id) => document.getElementById(id);
const storage = {
  get: (name) => {
    try {
      return JSON.parse(localStorage.getItem(name));
    } catch {
      return null; // storage may be forbidden, and what is in it anything
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(name, JSON.stringify(value));
    } catch {
      // then it is forgotten with this page
    }
  },
  remove: (name) => {
    try {
      localStorage.removeItem(name);
    } catch {
      // likewise
    }
  },
};
const PREFIX = `rootblood.import.${urls.account}.`;

// One of these for each file that was chosen; the one before is left alone by whatever it still waits for.
let current = null;

class GaveUp extends Error {}

element("file").addEventListener("change", () => {
  const file = element("file").files[0];
  current?.stop();
  reset();
  if (file) {
    current = new Upload(file);
    current.run();
  }
});

class Upload {
  constructor(file) {
    this.file = file;
    this.key = `${PREFIX}${file.name}.${file.size}.${file.lastModified}`;
    const known = storage.get(this.key);
    const goesOn = /^[0-9a-f]{32}$/.test(known?.id) && Date.now() - known.at < REMEMBERED;
    this.id = goesOn ? known.id : randomId();
    this.offset = 0;
    this.failures = 0;
    this.paused = false;
    this.stopped = false;
    this.request = null;
    this.wake = () => {};
  }

  get url() {
    return `${urls.imports}/${this.id}`;
  }

  async run() {
    try {
      await this.send();
      if (!this.stopped) {
        this.ready();
      }
    } catch (error) {
      if (!(error instanceof GaveUp)) {
        throw error;
      }
      if (!this.stopped) {
        show("sending", "");
        trouble(error.message);
      }
    }
  }

  async send() {
    if (this.file.size === 0) {
      throw new GaveUp("This file is empty.");
    }
    element("sent").hidden = false;
    element("pause").hidden = element("discard").hidden = false;
    show("sending", "Asking how much of it is there already");
    let known = false; // whether `offset` is the server's own word
    while (!this.stopped && !(known && this.offset >= this.file.size)) {
      if (this.paused) {
        await this.sleep(2 ** 31 - 1);
        continue;
      }
      try {
        if (!known) {
          this.offset = await this.ask();
          if (this.offset > this.file.size) {
            this.renew(); // another file's
            continue;
          }
          known = true;
          this.remember();
          continue;
        }
        this.offset = await this.append();
        this.failures = 0;
        this.remember();
      } catch (error) {
        if (error instanceof GaveUp) {
          throw error;
        }
        known = false;
        if (!this.paused && !this.stopped) {
          await this.wait(error.message);
        }
      }
    }
  }

  async ask() {
    return offsetOf(await called("HEAD", `${this.url}/data`), "");
  }

  // Sends the next piece; resolves to where the upload ends then. fetch does not tell how far it is.
  append() {
    const from = this.offset;
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      let timer = 0;
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(() => request.abort(), PIECE_TIMEOUT);
      };
      request.open("PATCH", `${this.url}/data`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("Upload-Offset", String(from));
      request.setRequestHeader("X-CSRF-Token", urls.token);
      request.upload.onprogress = (event) => {
        alive();
        this.progress(Math.min(from + event.loaded, this.file.size));
      };
      request.onloadend = () => {
        clearTimeout(timer);
        this.request = null;
        const answer = {
          status: request.status,
          header: (name) => request.getResponseHeader(name),
          detail: detailIn(request.responseText),
        };
        try {
          if (answer.status === 409 && Number(answer.header("Upload-Offset")) !== from) {
            resolve(offsetOf({ ...answer, status: 204 }, ""));
          } else {
            resolve(offsetOf(answer, answer.detail));
          }
        } catch (error) {
          reject(error);
        }
      };
      alive();
      request.send(this.file.slice(from, from + PIECE));
    });
  }

  // As the terminal's page has it: sooner at first, and not all browsers at one moment.
  async wait(why) {
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures) * (0.75 + Math.random() / 2);
    this.failures += 1;
    show("sending", `${why}. Trying again in ${Math.ceil(wait / 1000)} s.`);
    await this.sleep(wait);
  }

  sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  progress(offset) {
    element("sent").value = offset / this.file.size;
    show("sending", `${size(offset)} of ${size(this.file.size)}`);
  }

  remember() {
    this.progress(this.offset);
    storage.set(this.key, { id: this.id, at: Date.now() });
  }

  renew() {
    storage.remove(this.key);
    this.id = randomId();
  }

  pause(paused) {
    this.paused = paused;
    this.failures = 0;
    element("pause").textContent = paused ? "Go on" : "Pause";
    if (paused) {
      this.request?.abort();
      show("sending", `Paused at ${size(this.offset)} of ${size(this.file.size)}`);
    }
    this.wake();
  }

  stop() {
    this.stopped = true;
    this.request?.abort();
    this.wake();
  }

  ready() {
    show("sending", `All of it is there: ${size(this.file.size)}`);
    element("pause").hidden = true;
    element("into").value = proposed(this.file.name);
    element("choices").disabled = false;
  }

  async discard() {
    this.stop();
    storage.remove(this.key);
    reset();
    element("file").value = "";
    try {
      await expectOk(await called("DELETE", this.url));
      show("sending", "Discarded");
    } catch (error) {
      trouble(error.message);
    }
  }

  // Unpacks it, and tells how that goes until it is done.
  async unpack(into, replace) {
    element("choices").disabled = true;
    element("discard").hidden = true;
    element("unpacked").hidden = false;
    element("unpacked").value = 0;
    trouble("");
    show("unpacking", "Unpacking");
    try {
      let told = await expectOk(await called("POST", `${this.url}/unpack`, { into: replace ? null : into, replace }));
      while (told.state === "unpacking") {
        await this.sleep(LOOK_EVERY);
        if (this.stopped) {
          return;
        }
        told = await this.look();
        element("unpacked").value = told.unpacked_bytes / this.file.size;
        show("unpacking", `Unpacking: ${told.files} files`);
      }
      this.ended(told);
    } catch (error) {
      this.failed(error.message);
    }
  }

  // How it goes; a server that is away is waited for.
  async look() {
    for (;;) {
      try {
        const answer = await called("GET", this.url);
        if (answer.status === 404) {
          storage.remove(this.key);
          throw new GaveUp("The server was restarted, and the upload is gone: look into your home, it should be unpacked.");
        }
        return await expectOk(answer);
      } catch (error) {
        if (error instanceof GaveUp || this.stopped) {
          throw error;
        }
        show("unpacking", `${error.message}. Trying again.`);
        await this.sleep(LOOK_EVERY * 2);
      }
    }
  }

  ended(told) {
    if (told.state !== "done") {
      this.failed(told.error ?? "The server was restarted, and nothing was changed: unpack it again.");
      return;
    }
    storage.remove(this.key);
    element("unpacked").value = 1;
    const where = told.replaced
      ? `This is your home now; the old one is in ~/${visible(told.directory)}. Log in again.`
      : `Unpacked into ~/${visible(told.directory)}.`;
    show("unpacking", `${where} Files: ${told.files}.`);
    const list = element("warnings");
    const warnings = told.warnings.map(visible);
    if (told.more_warnings) warnings.push(`and ${told.more_warnings} more`);
    list.replaceChildren(...warnings.map((warning) => {
      const item = document.createElement("li");
      item.textContent = warning;
      return item;
    }));
    list.hidden = warnings.length === 0;
  }

  failed(why) {
    element("unpacked").hidden = true;
    show("unpacking", "");
    trouble(visible(why));
    element("choices").disabled = false;
    element("discard").hidden = false;
  }
}

async function called(method, url, body) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      cache: "no-store",
      headers: { "X-CSRF-Token": urls.token, ...(body ? { "Content-Type": "application/json" } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  } catch {
    throw new Error("The connection is lost");
  }
  return { status: answer.status, header: (name) => answer.headers.get(name), text: await answer.text().catch(() => "") };
}

// The answer's content; an error that is for good is a GaveUp.
async function expectOk(answer) {
  refuse(answer, detailIn(answer.text));
  return answer.text ? JSON.parse(answer.text) : null;
}

function offsetOf(answer, detail) {
  refuse(answer, detail);
  return Number(answer.header("Upload-Offset"));
}

function refuse({ status }, detail) {
  if (status === 0 || status === 408 || status === 429 || status >= 500) {
    throw new Error(detail ? visible(detail) : "The connection is lost");
  }
  if (status === 401 || status === 403) {
    throw new GaveUp("You are logged out. Reload this page, log in, and choose the same file: it goes on where it was.");
  }
  if (status >= 400) {
    throw new GaveUp(visible(detail || `The server refuses it: ${status}`));
  }
}

function detailIn(text) {
  try {
    return String(JSON.parse(text).detail ?? "");
  } catch {
    return "";
  }
}

function reset() {
  for (const id of ["sent", "unpacked", "pause", "discard", "warnings"]) {
    element(id).hidden = true;
  }
  element("sent").value = 0;
  element("pause").textContent = "Pause";
  element("choices").disabled = true;
  show("sending", "");
  show("unpacking", "");
  trouble("");
}

function show(id, text) {
  element(id).textContent = text;
}

function trouble(text) {
  element("trouble").textContent = text;
  element("trouble").hidden = !text;
}

function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Names and warnings are the tarball's: what would be hidden or obeyed is shown instead.
function visible(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function proposed(name) {
  const stem = name.replace(/\.(tar(\.\w+)?|tgz|tzst)$/i, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9_]+/, "");
  return (stem || "import").slice(0, 100);
}

function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${power ? (bytes / 1024 ** power).toFixed(1) : bytes} ${units[power]}`;
}

// What the user does.

element("pause").addEventListener("click", () => current?.pause(!current.paused));
element("discard").addEventListener("click", () => current?.discard());
element("where").addEventListener("change", () => {
  const replace = element("where").elements.where.value === "replace";
  element("into").disabled = replace;
  element("sure-label").hidden = !replace;
  element("sure").required = replace;
});
element("where").addEventListener("submit", (event) => {
  event.preventDefault();
  current?.unpack(element("into").value, element("where").elements.where.value === "replace");
});
addEventListener("online", () => current?.failures && current.wake());
