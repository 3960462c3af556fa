// What the parser of Adaptive Cards (npm `adaptivecards`, the one that Teams for the web shows cards with) has to say
// about cards: {name: card} on standard input, {name: [complaint]} on standard output.
"use strict";

const { AdaptiveCard, SerializationContext, Versions } = require("adaptivecards/dist/adaptivecards.js");

function complaints(payload) {
  const context = new SerializationContext(Versions.v1_4);
  const card = new AdaptiveCard();
  card.parse(payload, context);
  const parsed = Array.from({ length: context.eventCount }, (_, at) => context.getEventAt(at).message);
  const validated = card.validateProperties().validationEvents.map((event) => event.message);
  return [...parsed, ...validated];
}

const cards = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answer = Object.fromEntries(Object.entries(cards).map(([name, card]) => [name, complaints(card)]));
process.stdout.write(JSON.stringify(answer));
