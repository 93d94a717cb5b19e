// The API server's own check of the "restricted" pod security standard, for pod templates as JSON on stdin:
// [{"owner": …, "metadata": …, "spec": …}, …]. Prints a line for each violation; ends with 1 if there is one.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

type template struct {
	Owner    string            `json:"owner"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     corev1.PodSpec    `json:"spec"`
}

func main() {
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	var templates []template
	if err := decoder.Decode(&templates); err != nil {
		fail(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		fail(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	violations := 0
	for _, pod := range templates {
		for _, result := range evaluator.EvaluatePod(restricted, &pod.Metadata, &pod.Spec) {
			if !result.Allowed {
				violations++
				fmt.Printf("%s: %s: %s\n", pod.Owner, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
	}
	if violations > 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
