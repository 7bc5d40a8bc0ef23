// Command taskwall-cni is the plugin that Mesos runs to attach a task to its
// network. It hands the call to the taskwall agent of the host over a unix
// socket and prints the answer; all that it needs to know is in package
// agent/cni.
package main

import (
	"os"

	"github.com/taskwall/taskwall/agent/cni"
)

func main() {
	os.Exit(cni.Plugin(os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
