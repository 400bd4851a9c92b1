// Gates over channels, as Interventions draws them: how much each lets through of its channel.

import { scaleOf } from "./diagram.js";
import { part } from "./mathematics.js";
import { fixed } from "./words.js";

const nameOf = (k) => `channel ${k}`;

const product = (shape) => shape.reduce((a, b) => a * b, 1);

// The wire leads from `source` to a model's only gates; each has a row with its channel and with what it lets through.
export const channelStages = ({ layers, channels, channel_shape: size }, source) => {
  const scale = scaleOf([channels]);
  const tiles = { size, full: scale.full, what: nameOf };
  return [
    source,
    {
      rows: layers[0].size,
      class: "dc-maps dc-gated",
      columns: [
        { shares: "weights", what: nameOf, show: (v) => fixed(v, 2), title: "gate", note: "0 to 1" },
        { tiles: "channel", ...tiles, title: "channel", note: "of this image" },
        {
          tiles: "let through",
          ...tiles,
          what: (k) => `gated ${nameOf(k)}`,
          title: "gate × channel",
          note: "one scale",
        },
      ],
      beside: [{ scale: "channel scale", ...scale }],
    },
    { box: "model", text: "the rest" },
  ];
};

// pure: the channels of image b, and what the gates let through of each
export const gatedOf = ({ channels, channel_shape }, b, weights) => {
  const area = product(channel_shape);
  const own = part(channels, b, weights.length * area);
  const channel = weights.map((_, c) => part(own, c, area));
  return { channel, "let through": channel.map((map, c) => map.map((v) => weights[c] * v)) };
};
