"""A solution is the parameter: an answer to a reasoning question, improved by a judge of its steps."""

import wordgrad as wg

QUESTION = """Three lamps blink together at noon. After that the left one blinks every 4 seconds, the middle one every
6 seconds, the right one every 10 seconds. How often do all three blink together in the 5 minutes after noon?"""


def main() -> None:
    wg.set_backward_engine("local", override=True)
    answer = wg.llm_call(
        "Answer in one short paragraph.", QUESTION, engine="local", role_description="answer with its reasoning"
    )
    # The optimizer waits for the answer and makes it a parameter; what produced it is history.
    optimizer = wg.TextualGradientDescent([answer], engine="local")
    judge = wg.TextLoss(
        "Solve the question yourself, step by step: the lamps blink together at the common multiples of their times. "
        "Then say which step of the answer is wrong, if any, and what the right figure is."
    )
    print("answer:", answer.value, "\n")
    for _ in range(2):
        optimizer.zero_grad()
        loss = judge(answer, context=QUESTION)
        loss.backward()
        print("judge:", loss.value)
        print("step:", optimizer.step())
        print("answer:", answer.value, "\n")


if __name__ == "__main__":
    main()
