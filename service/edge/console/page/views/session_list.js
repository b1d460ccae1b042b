// The list of the sessions: of all tenants to who may see them, else of the key's own.

import { Refusal, call, named, words } from "../api.js";
import { duration, element, short } from "../dom.js";

let seesAll = true;

/** A page of the live sessions; `refused` says in words why there is none. */
export async function loadSessions({ limit = 50, cursor = "", model = "" } = {}) {
  const query = new URLSearchParams({ limit, ...(cursor && { cursor }), ...(model && { model }) });
  try {
    if (seesAll) {
      try {
        return await call("GET", `v1/sessions?tenant=*&${query}`, undefined, { isQuiet: true });
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 403) throw error;
        seesAll = false;
      }
    }
    return await call("GET", `v1/sessions?${query}`, undefined, { isQuiet: true });
  } catch (error) {
    if (error instanceof Refusal) return { sessions: [], next_cursor: null, refused: words(error) };
    throw error;
  }
}

/** Another key may see more. */
export function lookAnew() {
  seesAll = true;
}

export function age(time) {
  return duration((Date.now() - Date.parse(time)) / 1000);
}

/** The table of sessions. What is shown again stays the same element: a click or the focus on it is not lost. */
export class SessionTable {
  constructor() {
    this.rows = new Map();
    this.body = element("tbody", {});
    this.tenant = element("th", { scope: "col", hidden: true }, "Tenant");
    const head = ["Session", "Model"].map((name) => element("th", { scope: "col" }, name));
    const numbers = ["Steps", "Age"].map((name) => element("th", { scope: "col", class: "number" }, name));
    this.place = element("table", {}, element("thead", {}, element("tr", {}, head, numbers, this.tenant)), this.body);
  }

  show(sessions) {
    this.tenant.hidden = !sessions.some(({ tenant }) => tenant && tenant !== "-");
    const known = this.rows;
    this.rows = new Map(sessions.map((session) => [place(session), known.get(place(session)) ?? newRow(session)]));
    for (const session of sessions) {
      const [, its, steps, old, tenant] = this.rows.get(place(session)).cells;
      write(its, `${session.model}/${session.version}`);
      write(steps, short(session.steps));
      write(old, age(session.opened_at));
      write(tenant, session.tenant ?? "");
      tenant.hidden = this.tenant.hidden;
    }
    const shown = [...this.rows.values()];
    if (shown.length !== this.body.children.length || shown.some((row, index) => this.body.children[index] !== row)) this.body.replaceChildren(...shown);
  }
}

function newRow(session) {
  return element("tr", {}, element("td", {}, element("a", { href: place(session) }, session.session_id)), element("td", {}),
    element("td", { class: "number" }), element("td", { class: "number" }), element("td", {}));
}

function write(cell, text) {
  if (cell.textContent !== text) cell.textContent = text;
}

function place({ session_id: id, tenant }) {
  return `#/session/${named(id)}${tenant ? `/${named(tenant)}` : ""}`;
}
