// Code: a request as the curl and the Python that make it. Pure.

import { decoded } from "./decoded.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curlOf({ method, url, body, hasKey }) {
  const parts = ["curl"];
  if (method !== "GET") parts.push(`-X ${method}`);
  if (hasKey) parts.push('-H "Authorization: Bearer $OSTINATO_KEY"');
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  parts.push(quoted(url));
  return parts.join(" \\\n  ");
}

/** A value of JSON as Python writes it. */
export function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** By the client where it has a verb for the route, else by Python's own library; both answer what the page was. */
export function pythonOf({ method, url, root, path, body, hasKey }) {
  return byClient({ method, root, path, body }) ?? byHand({ method, url, body, hasKey });
}

const VERBS = { predict: "sequences", generate: "inputs" };
const ALIKE = new Set(["method", "max_steps", "num_beams", "num_return", "version", "seed", "temperature", "top_k", "top_p", "length_penalty"]);

function byClient({ method, root, path, body }) {
  const found = /^\/?v1\/models\/([^/?]+)\/(predict|generate)$/.exec(path);
  if (!found || method !== "POST") return null;
  const content = parsed(body);
  const verb = found[2];
  const own = VERBS[verb];
  const rest = Object.keys(content ?? {}).filter((name) => name !== own);
  const allowed = verb === "predict" ? new Set(["version"]) : ALIKE;
  // Whole numbers beyond 2^53 would be rounded on their way through here.
  if (!content?.[own] || !rest.every((name) => allowed.has(name)) || /\d{16}/.test(body)) return null;
  const options = rest.map((name) => `, ${name}=${literal(content[name])}`).join("");
  const name = literal(decoded(found[1]));
  const shown = verb === "predict" ? "for outputs in made:\n        print(outputs)" : "print(made.outputs)";
  return `from ostinato import Client  # a key is read from OSTINATO_KEY\n\n${own} = ${literal(content[own])}\n`
    + `with Client(${literal(root.replace(/\/$/, ""))}) as client:\n`
    + `    made = client.${verb}(${name}, ${own}${options})\n    ${shown}\n`;
}

function byHand({ method, url, body, hasKey }) {
  const headers = [];
  if (body) headers.push('"Content-Type": "application/json"');
  if (hasKey) headers.push('"Authorization": f"Bearer {os.environ[\'OSTINATO_KEY\']}"');
  return `${hasKey ? "import os\n" : ""}import urllib.request\n\n`
    + `request = urllib.request.Request(\n    ${literal(url)},\n    method=${literal(method)},\n`
    + (body ? `    data=${JSON.stringify(body)}.encode(),\n` : "")
    + (headers.length ? `    headers={${headers.join(", ")}},\n` : "")
    + ")\nwith urllib.request.urlopen(request) as answer:\n    print(answer.read().decode())\n";
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
