// Package cli runs the tools as people and scripts do: as processes, by the
// names of Mosquitto's programs and of midge, against a broker that is a process
// too. Each file of testdata is one script with the expected output bytes in it.
// The same scripts run with Debian's mosquitto-clients and against Debian's
// broker (build tag foreign), which compares the two byte for byte; a line that
// begins with a condition is a difference that docs/differences.md lists.
//
// It holds tests only. Lines "# flag: TOOL FLAG" say what a script is about;
// every flag of docs/spec/mosquitto-flags.tsv needs one.
package cli
