package dbdump

import "github.com/midgemq/midge/internal/cli/flagtable"

// Command describes the command.
func Command() flagtable.Command {
	return flagtable.Command{
		Name: "db_dump", Program: "mosquitto_db_dump", Summary: "print what a mosquitto.db file holds",
		Synopsis: []string{"[--stats | --client-stats | --json] FILE"},
		Text: []string{
			"Prints the sessions, subscriptions, queues and retained messages of a persistence file of Mosquitto, versions 2 to 6, or of one that midge has exported. The store of midge itself is printed by midge store dump.",
		},
		Operands: []flagtable.Operand{{Name: "FILE", Help: "persistence file", Offer: flagtable.Files}},
		Flags: []flagtable.Flag{
			{Names: []string{"--stats"}, Help: "print only how many entries of each kind there are"},
			{Names: []string{"--client-stats"}, Help: "print for each client its subscriptions (SC) and their bytes (SS), its messages (MC) and their bytes (MS)"},
			{Names: []string{"--json"}, Help: "print one JSON object; payloads are in base64"},
			{Names: []string{"--help"}, Help: "show the usage and end"},
		},
		Statuses: []flagtable.Note{
			{Name: "0", Text: "printed, or the file cannot be opened, as Mosquitto has it"},
			{Name: "1", Text: "wrong usage, the file is no database or is damaged"},
		},
		Examples: []flagtable.Note{{Name: "midge db_dump --stats /var/lib/mosquitto/mosquitto.db", Text: "counts what Mosquitto has stored"}},
	}
}
