package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/eventlog"
)

func checkpointCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest checkpoint, to keep it where the log's keepers cannot change it",
		Long: `Print the newest signed checkpoint of the log as one line of JSON. Keep it
elsewhere: in a ticket, with an assessor, on a host with other administrators.
A log that later ends before it, or differs up to it, is then found by
  taskwall audit verify --trust checkpoint.pub --expect FILE

Exit status 1 when there is no checkpoint.`,
		Example: "  taskwall audit checkpoint >> checkpoints.jsonl",
		Args:    cobra.NoArgs,
		RunE:    runCheckpoint,
	}
	historyFlags(cmd)
	return cmd
}

func runCheckpoint(cmd *cobra.Command, _ []string) error {
	src, done, err := openHistory(cmd)
	if err != nil {
		return err
	}
	defer done()
	all, err := src.Checkpoints(cmd.Context())
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(c eventlog.Checkpoint) bool { return c.Err != nil }) // verify tells of them
	if len(all) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "There is no checkpoint: the log is not signed.")
		return errNo
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(all[len(all)-1])
}

// expected reads the checkpoints of a file, one a line, which must be signed
// with a key to trust.
func expected(file string, trust []ed25519.PublicKey) ([]eventlog.Checkpoint, error) {
	if file == "" {
		return nil, nil
	}
	if len(trust) == 0 {
		return nil, usageError{errors.New("--expect needs --trust: a checkpoint says nothing without its key")}
	}
	data, err := os.ReadFile(file) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	var all []eventlog.Checkpoint
	for lines, n := bufio.NewScanner(bytes.NewReader(data)), 1; ; n++ {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
			break
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var c eventlog.Checkpoint
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("reading %s: line %d is no checkpoint: %w", file, n, err)
		}
		if err := c.Check(trust...); err != nil {
			return nil, fmt.Errorf("reading %s: line %d, the checkpoint of record %d: %w", file, n, c.Seq, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading %s: it holds no checkpoint", file)
	}
	return all, nil
}
