package sim_test

import (
	"fmt"
	"testing"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"
)

const (
	needs    = `"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}},{"name":"disk","type":"SCALAR","scalar":{"value":10}}]`
	groupOne = `{"type":"ACCEPT","framework_id":{"value":""},"accept":{"offer_ids":[],"operations":[{"type":"LAUNCH_GROUP","launch_group":{
		"executor":{"type":"DEFAULT","executor_id":{"value":"pod"},"framework_id":{"value":""},` + needs + `},
		"task_group":{"tasks":[{"name":"t","task_id":{"value":%q},"agent_id":{"value":""},"command":{"value":"x"},` + needs + `}]}}}],"filters":{"refuse_seconds":0}}}`
)

// TestOneExecutorOfAnID: an agent has one executor of an id at a time. Tasks for
// one that is about to exit are dropped, and its exit takes no other's entry out
// of the master's books: what a new executor of the id brings stays known.
func TestOneExecutorOfAnID(t *testing.T) {
	c := recordedCluster(t)
	addRecordedAgent(t, c)
	fw := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "600.0"))
	executors := func() int {
		return len(c.Master().Get(mesosmaster.Call_GET_EXECUTORS, false).GetExecutors.Executors)
	}
	fw.launch([]byte(fmt.Sprintf(groupOne, "first")))
	fw.saw("first", "TASK_RUNNING")
	fw.launch([]byte(fmt.Sprintf(groupOne, "second")))
	fw.saw("second", "TASK_DROPPED", "REASON_EXECUTOR_TERMINATED")
	if n := executors(); n != 1 {
		t.Errorf("%d executors of one id", n)
	}
	fw.kill("first")
	fw.saw("first", "TASK_KILLED")
	eventually(t, "the executor's end", func() bool { return executors() == 0 })
	fw.launch([]byte(fmt.Sprintf(groupOne, "third")))
	fw.saw("third", "TASK_RUNNING")
	if n := executors(); n != 1 {
		t.Errorf("%d executors for a running task", n)
	}
}
