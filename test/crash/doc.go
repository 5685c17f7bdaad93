// Package crash ends the real broker with SIGKILL again and again, at random
// moments, under traffic, and looks each time whether anything that had been
// acknowledged is missing, doubled or out of order.
//
// The clients here speak MQTT by themselves and remember everything, so what they
// expect does not depend on any other part of this repository. ROUNDS in the
// environment says how often the broker is killed, FLIP_EVERY in how many rounds a
// bit of its store is flipped once (10), SEED repeats a run.
package crash
