package agent

// Tracking is the kernel's connection tracking, as a test may stand in front of it.
type Tracking = tracking

// Through has the agent look at connections by way of another; before Run.
func (a *Agent) Through(by func(Tracking) Tracking) { a.flows = by(a.flows) }

// AtSteps has do called at each step of the process.
func AtSteps(do func(where string)) { step = do }
