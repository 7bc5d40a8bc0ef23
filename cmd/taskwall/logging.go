package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

// logger makes the logger that the flags ask for. It writes to standard error:
// standard output is for answers.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	text, _ := cmd.Flags().GetString("log-level")
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q: use debug, info, warn or error", text)}
	}
	options := &slog.HandlerOptions{Level: level}
	switch format, _ := cmd.Flags().GetString("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options)), nil
	default:
		return nil, usageError{fmt.Errorf("--log-format %q: use text or json", format)}
	}
}
