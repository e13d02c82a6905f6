"""A solution is the parameter: the answer to a puzzle, rewritten until a check in code finds nothing wrong with it."""

from collections.abc import Sequence

import wordgrad as wg

MINUTES = {"bees": 20, "graphs": 25, "maps": 30, "music": 35, "cooking": 40}
SESSION = 90
QUESTION = (
    f"Talks and their minutes: {', '.join(f'{talk} {minutes}' for talk, minutes in MINUTES.items())}. "
    f"Which of them fill a session of {SESSION} minutes exactly? Answer with their names, separated by commas."
)


def fills_the_session(answer: str, _target: object = None) -> wg.Score:
    """How near the named talks come to the session's length, and what is wrong in words."""
    talks = [talk for talk in MINUTES if talk in answer.lower()]
    total = sum(MINUTES[talk] for talk in talks)
    spelled = f"{' + '.join(f'{talk} {MINUTES[talk]}' for talk in talks) or 'no talk'} = {total} minutes"
    if total == SESSION:
        return wg.Score(1.0, f"{spelled}, exactly.")
    missing = abs(total - SESSION)
    wrong, other = ("long", "shorter") if total > SESSION else ("short", "longer")
    advice = f"{missing} minutes too {wrong}: swap a talk for one that is {missing} minutes {other}"
    return wg.Score(max(0.0, 1 - missing / SESSION), f"{spelled}, {advice}.")


def nearest(proposals: Sequence[wg.Proposal]) -> wg.Proposal:
    """The candidate that the check likes best."""
    return max(proposals, key=lambda each: fills_the_session("".join(each.values.values())).value or 0.0)


def main() -> None:
    answer = wg.llm_call(None, QUESTION, engine="local", role_description="answer: names of talks")
    # The optimizer waits for the answer and makes it a parameter; what produced it is history.
    optimizer = wg.TextualGradientDescent(
        [answer],
        engine="local",
        options=wg.Sampling(max_tokens=60, temperature=1.0),
        candidates=6,
        select=nearest,
        momentum=4,
    )
    check = wg.MetricLoss(fills_the_session, objective=f"The talks last {SESSION} minutes together.")
    print(QUESTION, "\n")
    for _ in range(8):
        loss = check(answer, context=QUESTION)
        print("answer:", answer.value)
        print("check:", loss.value, "\n")
        if loss.score == 1.0:
            break
        optimizer.zero_grad()
        loss.backward()
        print(optimizer.step())


if __name__ == "__main__":
    main()
