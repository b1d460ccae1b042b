// Server-sent events of an answer, one by one as they come.

/** Each event's `{event, data}`, the data read as JSON. */
export async function* eventsOf(body) {
  const decoder = new TextDecoder();
  let left = "";
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      left += decoder.decode(value, { stream: true });
      const events = left.split("\n\n");
      left = events.pop();
      for (const text of events) {
        const found = /^event: (.*)\ndata: (.*)$/s.exec(text);
        if (found) yield { event: found[1], data: JSON.parse(found[2]) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
