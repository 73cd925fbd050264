package automation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// A step with a probe is sent inside a fence: a shell script that leaves a mark
// on the host before the command begins and takes it away when the command has
// ended. Without it a probe that finds no effect proves little: the command may
// still be at work, since a lost connection ends none, or its request may lie
// in a buffer on the way and begin after the probe.
//
// The mark is a folder, because mkdir either makes it or fails, on every file
// system. Who makes it first has decided: behind the probe's mkdir the command
// refuses itself, behind the command's mkdir the probe waits for its end. Each
// sending has a mark of its own, so the fence of one does not stop the next.
//
// The mark stands in the user's home, and in /var/tmp for a user who has none.
// The choice depends on HOME alone: were it a matter of what can be written
// just now, command and probe could choose differently. Where no mark can be
// made (a full disk, a home that is read-only) the command is not run, with
// status fenceShut, and a probe says nothing.
//
// The scripts are POSIX shell and print nothing while all is well; the command
// itself goes to eval, in a shell of its own, so that neither its syntax nor an
// exit in it touches what stands around it.

// fenceShut is the exit status of a fence that did not run its command.
const fenceShut = 125

// undecidedExit is the status by which a probe says that the command may still
// be at work.
const undecidedExit = 126

// fenced tells whether the step is sent inside a fence: whether a probe may
// decide that it is sent again. One that is idempotent is so without asking.
func (s Step) fenced() bool { return s.Probe != "" && !s.Idempotent }

// markOf names the mark of one sending of a step.
func markOf(job, host, step string, attempt int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", job, host, step, attempt))
	return hex.EncodeToString(sum[:12])
}

const fencePlace = `nocturne_d=$HOME
case $nocturne_d in ''|/|/nonexistent) nocturne_d=/var/tmp;; esac
nocturne_m=$nocturne_d/.nocturne-MARK
`

// The mark holds the number of the process group in which the command's children
// are. sshd makes the login shell the leader of its own, whose number it then
// is; a ForceCommand may stand between, which the kernel knows.
const fenceStep = fencePlace + `(umask 077
nocturne_p=$(cat "/proc/$$/stat" 2>/dev/null)
set -- ${nocturne_p##*) }
mkdir "$nocturne_m" && echo "${3:-$$} $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" >"$nocturne_m/pid") || {
echo "nocturne: cannot leave the mark $nocturne_m, so the command was not run" >&2
exit 125
}
(eval COMMAND)
nocturne_s=$?
rm -rf "$nocturne_m" 2>/dev/null
exit "$nocturne_s"
`

// A mark that is not written yet is of a command that is just beginning. One of
// an earlier boot is of a command that is no more. Else only "No such
// process" says that the group is gone: a command that runs as another user
// answers "Operation not permitted". Marks that nobody took away, of probes and
// of commands that were killed, go after thirty days.
const fenceProbe = fencePlace + `(umask 077
mkdir "$nocturne_m" && { echo >"$nocturne_m/fence"; true; }) 2>/dev/null || [ -f "$nocturne_m/fence" ] || {
nocturne_p=$(cat "$nocturne_m/pid" 2>/dev/null)
case $nocturne_p in *' '*) ;; *) exit 126;; esac
nocturne_b=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
if [ -z "$nocturne_b" ] || [ -z "${nocturne_p#* }" ] || [ "$nocturne_b" = "${nocturne_p#* }" ]; then
case $(LC_ALL=C; export LC_ALL; kill -s 0 -- "-${nocturne_p%% *}" 2>&1) in
*'o such process'*) ;;
*) exit 126;;
esac
fi
}
find "$nocturne_d/." ! -name . -prune -name '.nocturne-*' -mtime +30 -exec rm -rf {} + >/dev/null 2>&1
eval COMMAND
`

func fence(script, mark, cmd string) string {
	return strings.NewReplacer("MARK", mark, "COMMAND", quote(cmd)).Replace(script)
}

// command is what is sent to the host for the step's next sending.
func (le *lease) command(i int) (string, error) {
	step, s := le.job.rec.Runbook.Steps[i], le.task.Steps[i]
	cmd, err := Render(step.Shell, le.job.rec.Values)
	if err != nil || !step.fenced() {
		return cmd, err
	}
	return fence(fenceStep, markOf(le.job.rec.Spec.ID, le.host, step.Name, s.Attempts+1), cmd), nil
}

// question is what is sent to the host to ask about the step's last sending.
// One that was sent before there were fences has none.
func (le *lease) question(i int) (string, error) {
	step, s := le.job.rec.Runbook.Steps[i], le.task.Steps[i]
	cmd, err := Render(step.Probe, le.job.rec.Values)
	if err != nil || !step.fenced() || s.Sent.IsZero() {
		return cmd, err
	}
	return fence(fenceProbe, markOf(le.job.rec.Spec.ID, le.host, step.Name, s.Attempts), cmd), nil
}
