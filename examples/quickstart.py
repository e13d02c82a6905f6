"""From a Variable to a step: a summariser's prompt, improved by a judge's words, on the embedded model."""

import wordgrad as wg

ARTICLES = [
    """The Orion probe completed its third perihelion pass on 12 March at 0.046 AU. Its FIELDS instrument recorded
switchbacks in 71 % of the magnetometer samples, up from 54 % in the second pass. The heat shield reached 1,377 degrees
Celsius; the spectrometer was switched off for 9 hours after a voltage drop.""",
    """市の図書館は来年4月から閲覧室の開館時間を22時まで延長する。昨年度の来館者は38万2千人で、そのうち夜間の利用は17%だった。
延長に伴い司書を6人増やし、年間の費用は4,800万円増える見込みだ。電子書籍の貸出も1人10冊に増やす。""",
    """A trial of 214 patients compared the beta blocker nebivolol with a placebo over 26 weeks. Mean systolic pressure
fell by 11.2 mmHg against 3.9 mmHg. Bradycardia occurred in 5 % of the treated group; two patients withdrew. The
authors call for a longer study with renal endpoints.""",
]


def main() -> None:
    wg.set_backward_engine("local", override=True)
    prompt = wg.Variable("You summarise articles.", "system prompt of the summariser", requires_grad=True)
    model = wg.BlackboxLLM(engine="local", system_prompt=prompt)
    judge = wg.TextLoss(
        "Judge the summary: keeps technical terms, is short, keeps every figure, is in the article's language. "
        "Say what to improve."
    )
    optimizer = wg.TextualGradientDescent(parameters=[prompt], engine="local")
    for article in ARTICLES:
        optimizer.zero_grad()
        loss = judge(model(article), context=article)
        loss.backward()
        print("judge:", loss.value)
        print("feedback:", prompt.get_gradient_text())
        print("step:", optimizer.step())
        print("prompt:", prompt.value, "\n")


if __name__ == "__main__":
    main()
