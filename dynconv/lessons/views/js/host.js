// A stand-in for the kernel's model: keeps the state, tells the listeners of a trait when it changes.
export const host = (widget, state, el) => {
  const listeners = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      (listeners[`change:${name}`] ?? []).forEach((listener) => listener());
    },
    save_changes: () => {},
    on: (event, listener) => {
      (listeners[event] ??= []).push(listener);
    },
    off: (event, listener) => {
      listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener);
    },
  };
  window.model = model; // for those who look under the hood, and for the tests
  return widget.render({ model, el });
};
