// What is told as it changes: by a stream of events, and by asking again and again while there is none.

import { useEffect, useState } from './htm-preact.js';
import { follow, get } from './api.js';

/** Between two questions while there is no stream, and until one is tried again; milliseconds. */
const ASKED = 3_000;
const AGAIN = 30_000;

const wait = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});

/** Follows `path/stream`, whose events of this name are what `path` answers. While the page is hidden nothing is asked. */
export function useLive(path, event, query) {
  const [state, setState] = useState({ value: null, error: null, isLoading: true, isLive: false });
  useEffect(() => {
    let stop = new AbortController();
    const change = (signal, more) => signal.aborted || setState((before) => ({ ...before, isLoading: false, ...more }));
    const ask = async (signal) => {
      const end = Date.now() + AGAIN;
      while (!signal.aborted && Date.now() < end) {
        await get(path, query).then((value) => change(signal, { value, error: null, isLive: false }), (error) => change(signal, { error, isLive: false }));
        await wait(ASKED, signal);
      }
    };
    const run = async (signal) => {
      while (!signal.aborted) {
        let isComplete = false;
        try {
          for await (const told of follow(`${path}/stream`, query, signal)) {
            if (told.event === event) change(signal, { value: told.data, error: null, isLive: true });
            isComplete = told.event === 'end';
          }
        } catch {
          // No stream: asking tells why, if there is a reason that matters.
        }
        if (!isComplete) await ask(signal);
      }
    };
    const turn = () => {
      stop.abort();
      stop = new AbortController();
      if (!document.hidden) run(stop.signal);
    };
    turn();
    document.addEventListener('visibilitychange', turn);
    return () => {
      document.removeEventListener('visibilitychange', turn);
      stop.abort();
    };
  }, [path, JSON.stringify(query)]);
  return state;
}
